// The arithmetic of a step, compiled once for every kind of processor: the includer says
// which by what it includes before (dots_*.h) and around (the compiler's target).
//
// Sums over a row are kept in 16 lanes and added in a fixed order, and products are not
// fused with sums unless dots_*.h does: so all kinds give the same numbers in INT8 and INT4.

// x ≤ 0 → eˣ, to two units in the last place (the polynomial is Cephes' expf).
inline float exponential(float x) {
  const float round = 12582912.0f;  // 1.5 · 2²³: adding it rounds to a whole number
  x = x < -87.0f ? -87.0f : x;
  const float whole = (x * 1.44269504f + round) - round;
  const float rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  float sum = 1.9875691500e-4f;
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * rest * rest + rest + 1.0f;
  const int32_t bits = (int32_t(whole) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return sum * power;
}

// x · Φ(x), with erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26).
inline float gelu(float x) {
  const float z = std::fabs(x) * 0.70710678f;
  const float t = 1.0f / (1.0f + 0.3275911f * z);
  float sum = 1.061405429f;
  sum = sum * t - 1.453152027f;
  sum = sum * t + 1.421413741f;
  sum = sum * t - 0.284496736f;
  sum = sum * t + 0.254829592f;
  const float tail = 0.5f * sum * t * exponential(-z * z);  // Φ(−|x|)
  return x * (x < 0 ? tail : 1.0f - tail);
}

inline float total(const float* lanes) {
  float sum = 0;
  for (int lane = 0; lane < TILE; ++lane) sum += lanes[lane];
  return sum;
}

inline float largest(const float* values, int count) {
  float lanes[TILE] = {}, most = 0;
  int i = 0;
  for (; i + TILE <= count; i += TILE)
    for (int lane = 0; lane < TILE; ++lane) {
      const float size = std::fabs(values[i + lane]);
      lanes[lane] = size > lanes[lane] ? size : lanes[lane];
    }
  for (; i < count; ++i) lanes[0] = std::max(lanes[0], std::fabs(values[i]));
  for (int lane = 0; lane < TILE; ++lane) most = std::max(most, lanes[lane]);
  return most;
}

// `count` values → bytes −levels … levels; returns their scale.
inline float to_bytes(const float* values, int count, int levels, int8_t* bytes) {
  const float round = 12582912.0f;  // as above
  const float most = largest(values, count);
  const float inverse = most > 0 ? float(levels) / most : 0.0f;
  for (int i = 0; i < count; ++i)
    bytes[i] = int8_t(int32_t((values[i] * inverse + round) - round));
  return most / float(levels);
}

inline void quantise(const Activations& x, int row) {
  for (int group = 0; group < x.width / GROUP; ++group) {
    int8_t* bytes = x.bytes(row) + group * GROUP;
    x.scales(row)[group] = to_bytes(x.values(row) + group * GROUP, GROUP, 127, bytes);
    for (int part = 0; part < GROUP / SMALL; ++part) {
      int32_t sum = 0;
      for (int i = 0; i < SMALL; ++i) sum += bytes[part * SMALL + i];
      x.sums(row)[group * (GROUP / SMALL) + part] = sum;
    }
  }
}

// Layer norm (epsilon 1e-5) of x [width].
inline void normalise(const float* x, const float* gain, const float* bias, int width,
                      float* out) {
  float sums[TILE] = {}, squares[TILE] = {};
  int i = 0;
  for (; i + TILE <= width; i += TILE)
    for (int lane = 0; lane < TILE; ++lane) sums[lane] += x[i + lane];
  for (; i < width; ++i) sums[0] += x[i];
  const float mean = total(sums) / float(width);
  for (i = 0; i + TILE <= width; i += TILE)
    for (int lane = 0; lane < TILE; ++lane) {
      const float away = x[i + lane] - mean;
      squares[lane] += away * away;
    }
  for (; i < width; ++i) squares[0] += (x[i] - mean) * (x[i] - mean);
  const float inverse = 1.0f / std::sqrt(total(squares) / float(width) + 1e-5f);
  for (i = 0; i < width; ++i) out[i] = (x[i] - mean) * inverse * gain[i] + bias[i];
}

template <int R>
inline void tile_int8(const Matrix& m, const uint8_t* tile, const Activations& x, int row,
                      float (*out)[TILE]) {
  const Block8* blocks = reinterpret_cast<const Block8*>(tile);
  std::memset(out, 0, R * sizeof *out);
  for (int group = 0; group * GROUP < m.inputs; ++group) {
    const int8_t* bytes[R];
    int32_t sums[R][TILE];
    for (int r = 0; r < R; ++r) bytes[r] = x.bytes(row + r) + group * GROUP;
    dot_int8<R>(blocks[group].fours[0], bytes, GROUP / 4, sums);
    for (int r = 0; r < R; ++r) {
      const int32_t* parts = x.sums(row + r) + group * (GROUP / SMALL);
      const int32_t zeros = ZERO8 * (parts[0] + parts[1] + parts[2] + parts[3]);
      add_scaled(sums[r], zeros, blocks[group].scales, x.scales(row + r)[group], out[r]);
    }
  }
}

template <int R>
inline void tile_int4(const Matrix& m, const uint8_t* tile, const Activations& x, int row,
                      float (*out)[TILE]) {
  const Block4* blocks = reinterpret_cast<const Block4*>(tile);
  std::memset(out, 0, R * sizeof *out);
  for (int start = 0; start < m.inputs; start += SMALL) {
    const Block4& block = blocks[start / GROUP];
    const int part = start % GROUP / SMALL;
    const int8_t* bytes[R];
    int32_t sums[R][TILE];
    for (int r = 0; r < R; ++r) bytes[r] = x.bytes(row + r) + start;
    dot_int4<R>(block.pairs[part][0], bytes, sums);
    for (int r = 0; r < R; ++r) {
      const int32_t zeros = ZERO4 * x.sums(row + r)[start / SMALL];
      add_scaled(sums[r], zeros, block.scales[part], x.scales(row + r)[start / GROUP], out[r]);
    }
  }
}

template <int R, class Weight>
inline void tile_float(const Matrix& m, const uint8_t* tile, const Activations& x, int row,
                       float (*out)[TILE]) {
  const float* values[R];
  for (int r = 0; r < R; ++r) values[r] = x.values(row + r);
  dot_float<R>(reinterpret_cast<const Weight*>(tile), values, m.inputs, out);
}

// What becomes of R rows' sums for one tile.
inline void put(const float (*sums)[TILE], int rows, float* to, int stride, Then then) {
  for (int r = 0; r < rows; ++r, to += stride) {
    if (then == Then::STORE) std::memcpy(to, sums[r], sizeof sums[r]);
    if (then == Then::ADD)
      for (int lane = 0; lane < TILE; ++lane) to[lane] += sums[r][lane];
    if (then == Then::GELU)
      for (int lane = 0; lane < TILE; ++lane) to[lane] = gelu(sums[r][lane]);
  }
}

// out [rows, stride] from x [rows, inputs]: tiles first … last − 1, all rows while a tile is
// near. A row's sums do not depend on which rows are computed beside it.
inline void linear(const Matrix& m, const Activations& x, int rows, int first, int last,
                   float* out, int stride, Then then) {
  // As many rows at once as the registers hold; two at least, to share what is loaded.
  const auto bytes = {tile_int8<1>, tile_int8<2>, tile_int8<3>, tile_int8<4>};
  const auto fours = {tile_int4<1>, tile_int4<2>, tile_int4<3>, tile_int4<4>};
  const auto halves = {tile_float<1, uint16_t>, tile_float<2, uint16_t>};
  const auto floats = {tile_float<1, float>, tile_float<2, float>};
  const auto& products = m.format == INT8      ? bytes
                         : m.format == INT4    ? fours
                         : m.format == FLOAT16 ? halves
                                               : floats;
  const int most = int(products.size());
  alignas(64) float sums[4][TILE];
  for (int tile = first; tile < last; ++tile)
    for (int row = 0; row < rows; row += most) {
      const int together = std::min(most, rows - row);
      products.begin()[together - 1](m, m.tile(tile), x, row, sums);
      put(sums, together, out + size_t(row) * stride + tile * TILE, stride, then);
    }
}

// Put the key and value [width] of `position` into a cache's lane.
inline void append(const Cache& cache, int lane, int position, const float* key,
                   const float* value) {
  const int width = cache.width, tile = position / TILE, within = position % TILE;
  if (!cache.in_bytes) {
    float* keys = cache.keys<float>(lane) + size_t(tile) * TILE * cache.fours() * 4;
    for (int i = 0; i < width; ++i) keys[i * TILE + within] = key[i];
    std::memcpy(cache.values<float>(lane) + size_t(position) * width, value, width * 4);
    return;
  }
  int8_t bytes[MAX_HEAD] = {};
  uint8_t* keys = cache.keys<uint8_t>(lane) + size_t(tile) * cache.fours() * LINE;
  cache.key_scales(lane)[position] = to_bytes(key, width, LEVELS8, bytes);
  for (int i = 0; i < width; ++i) bytes[i] = int8_t(bytes[i] + ZERO8);
  for (int four = 0; four < cache.fours(); ++four)
    std::memcpy(keys + four * LINE + within * 4, bytes + four * 4, 4);
  cache.value_scales(lane)[position] =
      to_bytes(value, width, 127, cache.values<int8_t>(lane) + size_t(position) * width);
}

// How well `query` fits each key of tiles [0, length): scores, room for whole tiles.
inline void score(const Cache& cache, int lane, const float* query, int length, float* scores) {
  const float scale = 1.0f / std::sqrt(float(cache.width));
  const int step = cache.fours() * 4 * TILE;
  if (!cache.in_bytes) {
    float scaled[MAX_HEAD], sums[1][TILE];
    for (int i = 0; i < cache.width; ++i) scaled[i] = query[i] * scale;
    const float* values[1] = {scaled};
    for (int tile = 0; tile * TILE < length; ++tile) {
      dot_float<1>(cache.keys<float>(lane) + size_t(tile) * step, values, cache.width, sums);
      std::memcpy(scores + tile * TILE, sums, sizeof sums);
    }
    return;
  }
  int8_t bytes[MAX_HEAD] = {};
  int32_t sums[1][TILE];
  const float query_scale = to_bytes(query, cache.width, 127, bytes) * scale;
  const float* key_scales = cache.key_scales(lane);
  int32_t zeros = 0;
  for (int i = 0; i < cache.width; ++i) zeros += ZERO8 * bytes[i];
  const int8_t* values[1] = {bytes};
  for (int tile = 0; tile * TILE < length; ++tile) {
    dot_int8<1>(cache.keys<uint8_t>(lane) + size_t(tile) * step, values, cache.fours(), sums);
    float* to = scores + tile * TILE;
    std::memset(to, 0, TILE * sizeof *to);
    add_scaled(sums[0], zeros, key_scales + tile * TILE, query_scale, to);
  }
}

// scores [whole tiles] → weights in place, not yet divided by their sum, which is returned.
inline float soften(float* scores, int length) {
  const int end = padded(length, TILE);
  for (int i = length; i < end; ++i) scores[i] = -INFINITY;
  float lanes[TILE], most = -INFINITY;
  std::memcpy(lanes, scores, sizeof lanes);
  for (int i = TILE; i < end; i += TILE)
    for (int lane = 0; lane < TILE; ++lane)
      lanes[lane] = scores[i + lane] > lanes[lane] ? scores[i + lane] : lanes[lane];
  for (int lane = 0; lane < TILE; ++lane) most = std::max(most, lanes[lane]);
  std::memset(lanes, 0, sizeof lanes);
  for (int i = 0; i < end; i += TILE)
    for (int lane = 0; lane < TILE; ++lane) {
      scores[i + lane] = exponential(scores[i + lane] - most);
      lanes[lane] += scores[i + lane];
    }
  return total(lanes);  // what is beyond `length` adds e⁻⁸⁷ each: nothing
}

// out [width] += values [count][width] weighted.
template <class Value>
inline void gather(const Value* values, const float* weights, int count, int width, float* out) {
  int i = 0;
  for (; i + 4 <= count; i += 4) {
    const Value* four = values + size_t(i) * width;
    const float a = weights[i], b = weights[i + 1], c = weights[i + 2], d = weights[i + 3];
    for (int j = 0; j < width; ++j)
      out[j] += (a * float(four[j]) + b * float(four[width + j])) +
                (c * float(four[2 * width + j]) + d * float(four[3 * width + j]));
  }
  for (; i < count; ++i)
    for (int j = 0; j < width; ++j) out[j] += weights[i] * float(values[size_t(i) * width + j]);
}

// Attention of one query [width] to the first `length` positions of a lane → out [width].
inline void attend(const Cache& cache, int lane, const float* query, int length, float* scores,
                   float* out) {
  float sums[MAX_HEAD] = {};
  score(cache, lane, query, length, scores);
  const float sum = soften(scores, length);
  if (cache.in_bytes) {
    const float* scales = cache.value_scales(lane);
    for (int i = 0; i < length; ++i) scores[i] *= scales[i];
    gather(cache.values<int8_t>(lane), scores, length, cache.width, sums);
  } else {
    gather(cache.values<float>(lane), scores, length, cache.width, sums);
  }
  for (int i = 0; i < cache.width; ++i) out[i] = sums[i] / sum;
}

inline const Loops loops = {linear, normalise, quantise, append, attend};
