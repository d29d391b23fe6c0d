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
    int32_t all = 0;
    for (int part = 0; part < GROUP / SMALL; ++part) {
      int32_t sum = 0;
      for (int i = 0; i < SMALL; ++i) sum += bytes[part * SMALL + i];
      x.sums(row)[group * (GROUP / SMALL) + part] = sum;
      all += sum;
    }
    x.zeros(row)[group] = ZERO8 * all;
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
    int32_t zeros[R];
    float scales[R];
    for (int r = 0; r < R; ++r) {
      bytes[r] = x.bytes(row + r) + group * GROUP;
      zeros[r] = x.zeros(row + r)[group];
      scales[r] = x.scales(row + r)[group];
    }
    add_group<R>(blocks[group], bytes, zeros, scales, out);
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

constexpr int MOST_ROWS = std::max(ROWS8, 4);
constexpr int ROWS = ROWS8 / 2;  // of floats, whose sums take twice the registers

// A tile's sums for some rows: as many as its place in a table, from one on.
using Product = void (*)(const Matrix&, const uint8_t*, const Activations&, int, float (*)[TILE]);

template <int... R>
inline std::span<const Product> products8(std::integer_sequence<int, R...>) {
  static constexpr Product products[] = {tile_int8<R + 1>...};
  return products;
}

template <class Weight, int... R>
inline std::span<const Product> products(std::integer_sequence<int, R...>) {
  static constexpr Product products[] = {tile_float<R + 1, Weight>...};
  return products;
}

inline std::span<const Product> products_of(Format format) {
  // As many rows at once as the registers hold; two at least, to share what is loaded.
  static constexpr Product fours[] = {tile_int4<1>, tile_int4<2>, tile_int4<3>, tile_int4<4>};
  switch (format) {
    case INT8: return products8(std::make_integer_sequence<int, ROWS8>());
    case INT4: return fours;
    case FLOAT16: return products<uint16_t>(std::make_integer_sequence<int, ROWS>());
    default: return products<float>(std::make_integer_sequence<int, ROWS>());
  }
}

// out [rows, stride] from x [rows, inputs]: tiles first … last − 1, all rows while a tile is
// near. A row's sums do not depend on which rows are computed beside it.
inline void linear(const Matrix& m, const Activations& x, int rows, int first, int last,
                   float* out, int stride, Then then) {
  const std::span<const Product> products = products_of(m.format);
  const int most = int(products.size());
  alignas(64) float sums[MOST_ROWS][TILE];
  for (int tile = first; tile < last; ++tile)
    for (int row = 0; row < rows; row += most) {
      const int together = std::min(most, rows - row);
      products[together - 1](m, m.tile(tile), x, row, sums);
      put(sums, together, out + size_t(row) * stride + tile * TILE, stride, then);
    }
}

// Put the key and value [width] of `position` into a cache's lane.
inline void append(const Cache& cache, int lane, int position, const float* key,
                   const float* value) {
  const int width = cache.width, within = position % TILE;
  const size_t tile = size_t(cache.positions) * TILE;  // of values
  if (!cache.in_bytes) {
    float* keys = cache.keys<float>(lane) + size_t(position - within) * cache.fours() * 4;
    float* values = cache.values<float>(lane) + position * TILE;
    for (int i = 0; i < width; ++i) keys[i * TILE + within] = key[i];
    for (int start = 0; start < width; start += TILE, values += tile) {
      if (within == 0) std::memset(values, 0, TILE * TILE * sizeof *values);  // no NaN ahead
      std::memcpy(values, value + start, std::min(TILE, width - start) * sizeof *values);
    }
    return;
  }
  int8_t bytes[MAX_HEAD] = {};
  uint8_t* keys = cache.keys<uint8_t>(lane) + size_t(position - within) * cache.fours() * 4;
  uint8_t* values = cache.values<uint8_t>(lane) + position / 4 * LINE + position % 4;
  cache.key_scales(lane)[position] = to_bytes(key, width, LEVELS8, bytes);
  for (int i = 0; i < width; ++i) bytes[i] = int8_t(bytes[i] + ZERO8);
  for (int four = 0; four < cache.fours(); ++four)
    std::memcpy(keys + four * LINE + within * 4, bytes + four * 4, 4);
  cache.value_scales(lane)[position] = to_bytes(value, width, LEVELS8, bytes);
  for (int i = 0; i < width; ++i)
    values[i / TILE * tile + i % TILE * 4] = uint8_t(bytes[i] + ZERO8);
}

// Ask memory for the values, in bytes, of the tile of positions from `start` on: they lie in
// as many places as a head has tiles of features, each too short to be foreseen.
inline void expect_values(const Cache& cache, int lane, int start) {
  const uint8_t* values = cache.values<uint8_t>(lane) + size_t(start) * TILE;
  const size_t tile = size_t(cache.positions) * TILE;
  for (int i = 0; i < cache.width; i += TILE, values += tile)
    for (int line = 0; line < TILE / 4; ++line) __builtin_prefetch(values + line * LINE, 0, 2);
}

constexpr int QUERIES = ROWS8 / 2;  // that share what is loaded: each one's weights are two rows
static_assert(QUERIES <= MOST_QUERIES);

// dot_int8 and dot_float for so many rows.
template <int... R>
inline auto dot_int8_of(int rows, std::integer_sequence<int, R...>) {
  static constexpr decltype(&dot_int8<1>) dots[] = {dot_int8<R + 1>...};
  return dots[rows - 1];
}
template <int... R>
inline auto dot_float_of(int rows, std::integer_sequence<int, R...>) {
  static constexpr decltype(&dot_float<1, float>) dots[] = {dot_float<R + 1, float>...};
  return dots[rows - 1];
}

// How well up to QUERIES queries [width] fit each key of tiles [0, end): scores.
inline void score(const Cache& cache, int lane, const float* const* queries, int count, int end,
                  float* const* scores) {
  const float scale = 1.0f / std::sqrt(float(cache.width));
  const size_t step = size_t(cache.fours()) * 4;
  if (!cache.in_bytes) {
    const auto dot = dot_float_of(count, std::make_integer_sequence<int, QUERIES>());
    float scaled[QUERIES][MAX_HEAD], sums[QUERIES][TILE];
    const float* values[QUERIES];
    for (int r = 0; r < count; ++r) {
      values[r] = scaled[r];
      for (int i = 0; i < cache.width; ++i) scaled[r][i] = queries[r][i] * scale;
    }
    for (int start = 0; start < end; start += TILE) {
      dot(cache.keys<float>(lane) + start * step, values, cache.width, sums);
      for (int r = 0; r < count; ++r) std::memcpy(scores[r] + start, sums[r], sizeof sums[r]);
    }
    return;
  }
  const auto dot = dot_int8_of(count, std::make_integer_sequence<int, QUERIES>());
  int8_t bytes[QUERIES][MAX_HEAD] = {};
  int32_t sums[QUERIES][TILE], zeros[QUERIES] = {};
  float scales[QUERIES];
  const int8_t* values[QUERIES];
  for (int r = 0; r < count; ++r) {
    values[r] = bytes[r];
    scales[r] = to_bytes(queries[r], cache.width, 127, bytes[r]) * scale;
    for (int i = 0; i < cache.width; ++i) zeros[r] += ZERO8 * bytes[r][i];
  }
  for (int start = 0; start < end; start += TILE) {
    expect_values(cache, lane, start);
    dot(cache.keys<uint8_t>(lane) + start * step, values, cache.fours(), sums);
    for (int r = 0; r < count; ++r) {
      std::memset(scores[r] + start, 0, TILE * sizeof(float));
      add_scaled(sums[r], zeros[r], cache.key_scales(lane) + start, scales[r], scores[r] + start);
    }
  }
}

// Scores of whole tiles [0, end) → weights in place, zero from `length` on; not yet divided
// by their sum, which is returned.
inline float soften(float* scores, int length, int end) {
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
      lanes[lane] += scores[i + lane];  // e⁻⁸⁷ each beyond `length`: nothing
    }
  for (int i = length; i < end; ++i) scores[i] = 0;
  return total(lanes);
}

// Weights [end] → whole numbers of 14 bits, their upper and lower seven apart; the scale. Bytes
// may alias anything, so without __restrict compilers make no vectors of the loop.
inline float to_halves(const float* weights, int end, int8_t* __restrict upper,
                       int8_t* __restrict lower) {
  const float round = 12582912.0f;  // as above
  const float most = largest(weights, end);
  const float inverse = most > 0 ? 16383.0f / most : 0.0f;
  for (int i = 0; i < end; ++i) {
    const int32_t whole = int32_t((weights[i] * inverse + round) - round);
    upper[i] = int8_t(whole >> 7);
    lower[i] = int8_t(whole & 127);
  }
  return most / 16383.0f;
}

// outs [width] = the values of positions [0, end) weighted, for up to QUERIES; `weights`
// become their products with the values' scales, if these have some.
inline void gather(const Cache& cache, int lane, float* const* weights, int8_t* halves,
                   const int* lengths, int count, int end, const float* totals,
                   float* const* outs) {
  const size_t step = size_t(cache.positions) * TILE;
  if (!cache.in_bytes) {
    const auto dot = dot_float_of(count, std::make_integer_sequence<int, QUERIES>());
    float sums[QUERIES][TILE];
    for (int start = 0; start < cache.width; start += TILE) {
      dot(cache.values<float>(lane) + start / TILE * step, weights, end, sums);
      for (int r = 0; r < count; ++r)
        for (int i = start; i < std::min(start + TILE, cache.width); ++i)
          outs[r][i] = sums[r][i - start] / totals[r];
    }
    return;
  }
  const auto dot = dot_int8_of(2 * count, std::make_integer_sequence<int, 2 * QUERIES>());
  int32_t sums[2 * QUERIES][TILE], zeros[2 * QUERIES] = {};
  float scales[QUERIES];
  const int8_t* values[2 * QUERIES];
  for (int r = 0; r < count; ++r) {
    for (int i = 0; i < lengths[r]; ++i) weights[r][i] *= cache.value_scales(lane)[i];
    int8_t *upper = halves + 2 * r * end, *lower = upper + end;
    values[2 * r] = upper;
    values[2 * r + 1] = lower;
    scales[r] = to_halves(weights[r], end, upper, lower) / totals[r];
    for (int i = 0; i < end; ++i) zeros[2 * r] += upper[i];
    for (int i = 0; i < end; ++i) zeros[2 * r + 1] += lower[i];
  }
  for (int start = 0; start < cache.width; start += TILE) {
    dot(cache.values<uint8_t>(lane) + start / TILE * step, values, end / 4, sums);
    for (int r = 0; r < count; ++r)
      for (int i = start; i < std::min(start + TILE, cache.width); ++i)
        outs[r][i] = (128.0f * float(sums[2 * r][i - start] - ZERO8 * zeros[2 * r]) +
                      float(sums[2 * r + 1][i - start] - ZERO8 * zeros[2 * r + 1])) *
                     scales[r];
  }
}

// Every query's result is as if it were alone: what lies behind its length weighs nothing.
inline void attend(const Cache& cache, int lane, const Attention& a) {
  for (int first = 0; first < a.count; first += QUERIES) {
    const int count = std::min(QUERIES, a.count - first);
    const int end = padded(a.length + (first + count - 1) * a.growth, TILE);
    const float* queries[QUERIES];
    float *scores[QUERIES], *outs[QUERIES], totals[QUERIES];
    int lengths[QUERIES];
    for (int r = 0; r < count; ++r) {
      queries[r] = a.queries + size_t(first + r) * a.query_stride;
      outs[r] = a.outs + size_t(first + r) * a.out_stride;
      scores[r] = a.scratch + size_t(r) * end;
      lengths[r] = a.length + (first + r) * a.growth;
    }
    score(cache, lane, queries, count, end, scores);
    for (int r = 0; r < count; ++r) totals[r] = soften(scores[r], lengths[r], end);
    int8_t* halves = reinterpret_cast<int8_t*>(a.scratch + size_t(count) * end);
    gather(cache, lane, scores, halves, lengths, count, end, totals, outs);
  }
}

inline const Loops loops = {linear, normalise, quantise, append, attend};
