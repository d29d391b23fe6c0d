// EnCodec's decoder: products in bfloat16, of convolutions and of the LSTM; all else in float32.
//
// Sequences are [time, sounds, channels], so a row is one position of one sound, and what
// belongs to a tap of a convolution lies a fixed number of elements from the row. Weights lie
// in tiles of 16 outputs, as codec/native.py packs them:
//
//   [tiles][taps · channels / 2][16 outputs][2 channels]
//
// A row's sums are made in the same order whatever is beside it, so a sound is the same alone
// and among others, whole and in pieces.
#pragma once

#include <cstdint>

// As in codec/native.py.
struct Convolution {
  const uint16_t* x;         // the first tap of the first row
  const uint16_t* weights;
  const float* bias;         // [tiles · 16]
  const float* residual;     // [rows, outputs], added to the result; or null
  float* out;                // [rows, outputs]
  int rows, row_stride;      // elements from one row to the next
  int taps, tap_stride, channels;
  int outputs;
};

// One layer. A tile of gates has 4 · 16 numbers: the input, forget, cell and output gates of
// 16 units.
struct Recurrence {
  const float* gates;       // [steps, sounds, 4 · units], from the inputs, in tiles
  const uint16_t* weights;  // of the units' last outputs
  const uint16_t* before;   // [sounds, units], the outputs before the first step
  float* cells;             // [sounds, units], updated
  uint16_t* out;            // [steps, sounds, units]
  int steps, sounds, units;
};

#if defined(__x86_64__)
TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512bf16")
namespace bfloat16 {

constexpr int ROWS = 6, TILES = 4;    // of sums that the registers hold
constexpr int NEAR = 1 << 17;         // numbers that stay in a cache while weights go by

// eˣ to two units in the last place (the polynomial is Cephes' expf).
inline __m512 exponential(__m512 x) {
  x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.0f)), _mm512_set1_ps(88.0f));
  const __m512 whole = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
  rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(-2.12194440e-4f), rest);
  __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
  for (float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                     5.0000001201e-1f, 1.0f, 1.0f})
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(next));
  return _mm512_scalef_ps(sum, whole);
}

inline __m512 sigmoid(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_div_ps(one, _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

inline __m512 hyperbolic_tangent(__m512 x) {
  const __m512 twice = sigmoid(_mm512_add_ps(x, x));
  return _mm512_sub_ps(_mm512_add_ps(twice, twice), _mm512_set1_ps(1.0f));
}

inline __mmask16 first(int count) { return __mmask16((1u << std::min(count, TILE)) - 1); }

inline void store(uint16_t* out, __mmask16 which, __m512 x) {
  _mm256_mask_storeu_epi16(out, which, (__m256i)_mm512_cvtneps_pbh(x));
}

inline void elu(const float* x, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; i += TILE) {
    const __mmask16 which = first(int(std::min<int64_t>(count - i, TILE)));
    const __m512 value = _mm512_maskz_loadu_ps(which, x + i);
    const __mmask16 below = _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_LT_OQ);
    store(out + i, which,
          _mm512_mask_sub_ps(value, below, exponential(value), _mm512_set1_ps(1.0f)));
  }
}

// sums += R rows of `x` times T tiles of weights, for `channels` of one tap.
template <int R, int T>
inline void multiply(const uint16_t* x, size_t row_stride, int channels, const uint16_t* weights,
                     size_t tile_stride, __m512 (&sums)[R][T]) {
  for (int channel = 0; channel < channels; channel += 2, weights += 2 * TILE) {
    __m512i pairs[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) pairs[t] = _mm512_loadu_si512(weights + t * tile_stride);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      std::memcpy(&pair, x + r * row_stride + channel, sizeof pair);
      const __m512i values = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t)
        sums[r][t] = _mm512_dpbf16_ps(sums[r][t], (__m512bh)pairs[t], (__m512bh)values);
    }
  }
}

template <int R, int T>
void convolve_block(const Convolution& c, int row, int tile) {
  const size_t tile_stride = size_t(c.taps) * c.channels * TILE;
  __m512 sums[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) sums[r][t] = _mm512_loadu_ps(c.bias + (tile + t) * TILE);
  for (int tap = 0; tap < c.taps; ++tap)
    multiply<R, T>(c.x + size_t(row) * c.row_stride + size_t(tap) * c.tap_stride, c.row_stride,
                   c.channels, c.weights + tile * tile_stride + size_t(tap) * c.channels * TILE,
                   tile_stride, sums);
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) {
      const int output = (tile + t) * TILE;
      const __mmask16 which = first(c.outputs - output);
      const size_t place = size_t(row + r) * c.outputs + output;
      __m512 sum = sums[r][t];
      if (c.residual) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(which, c.residual + place));
      _mm512_mask_storeu_ps(c.out + place, which, sum);
    }
}

template <int T>
void convolve_tiles(const Convolution& c, int row, int rows, int tile) {
  constexpr void (*blocks[ROWS])(const Convolution&, int, int) = {
      convolve_block<1, T>, convolve_block<2, T>, convolve_block<3, T>,
      convolve_block<4, T>, convolve_block<5, T>, convolve_block<6, T>};
  for (const int end = row + rows; row < end; row += ROWS)
    blocks[std::min(ROWS, end - row) - 1](c, row, tile);
}

inline void convolve(const Convolution& c) {
  constexpr void (*some[TILES])(const Convolution&, int, int, int) = {
      convolve_tiles<1>, convolve_tiles<2>, convolve_tiles<3>, convolve_tiles<4>};
  const int tiles = padded(c.outputs, TILE) / TILE;
  const int together = padded(std::max(NEAR / c.channels, 1), ROWS);
  for (int row = 0; row < c.rows; row += together)
    for (int tile = 0; tile < tiles; tile += TILES)
      some[std::min(TILES, tiles - tile) - 1](c, row, std::min(together, c.rows - row), tile);
}

// R sounds' 16 units, whose tile this is, in one step.
template <int R>
void recur_block(const Recurrence& c, int step, int sound, int tile) {
  const __mmask16 all = first(TILE);
  const size_t row = size_t(step) * c.sounds + sound, tile_stride = size_t(c.units) * TILE;
  const uint16_t* before = step ? c.out + (row - c.sounds) * c.units : c.before + sound * c.units;
  __m512 sums[R][4];
  for (int r = 0; r < R; ++r)
    for (int gate = 0; gate < 4; ++gate)
      sums[r][gate] = _mm512_loadu_ps(c.gates + ((row + r) * c.units + tile * TILE) * 4 + gate * TILE);
  multiply<R, 4>(before, c.units, c.units, c.weights + tile * 4 * tile_stride, tile_stride, sums);
  for (int r = 0; r < R; ++r) {
    float* cells = c.cells + size_t(sound + r) * c.units + tile * TILE;
    const __m512 added = _mm512_mul_ps(sigmoid(sums[r][0]), hyperbolic_tangent(sums[r][2]));
    const __m512 cell = _mm512_fmadd_ps(sigmoid(sums[r][1]), _mm512_loadu_ps(cells), added);
    _mm512_storeu_ps(cells, cell);
    store(c.out + (row + r) * c.units + tile * TILE, all,
          _mm512_mul_ps(sigmoid(sums[r][3]), hyperbolic_tangent(cell)));
  }
}

inline void recur(const Recurrence& c) {
  constexpr void (*blocks[ROWS])(const Recurrence&, int, int, int) = {
      recur_block<1>, recur_block<2>, recur_block<3>, recur_block<4>, recur_block<5>, recur_block<6>};
  for (int step = 0; step < c.steps; ++step)
    for (int tile = 0; tile < c.units / TILE; ++tile)
      for (int sound = 0; sound < c.sounds; sound += ROWS)
        blocks[std::min(ROWS, c.sounds - sound) - 1](c, step, sound, tile);
}

}  // namespace bfloat16
END_TARGET
#endif
