// AVX2 with FMA and F16C: x86 since 2013. See dots_scalar.h.

constexpr int AHEAD = 4096;  // bytes: how early memory is asked for what comes next

inline __m256i broadcast_four(const int8_t* x) {
  int32_t four;
  std::memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}

template <int R>
inline void dot_int8(const uint8_t* w, const int8_t* const* x, int fours, int32_t (*out)[TILE]) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sums[R][2];
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int four = 0; four < fours; ++four) {
    const uint8_t* line = w + four * LINE;
    __builtin_prefetch(line + AHEAD);
    const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(line));
    const __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(line + 32));
    for (int r = 0; r < R; ++r) {
      const __m256i values = broadcast_four(x[r] + four * 4);
      const __m256i first = _mm256_maddubs_epi16(w0, values);
      const __m256i second = _mm256_maddubs_epi16(w1, values);
      sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(first, ones));
      sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(second, ones));
    }
  }
  for (int r = 0; r < R; ++r)
    for (int half = 0; half < 2; ++half)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out[r]) + half, sums[r][half]);
}

// Eight products of at most 2 · 15 · 127 fit in 16 bits, so they are widened only once.
template <int R>
inline void dot_int4(const uint8_t* w, const int8_t* const* x, int32_t (*out)[TILE]) {
  const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i sums[R][2];
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = _mm256_setzero_si256();
  for (int line = 0; line < SMALL / 8; ++line, w += LINE) {
    __builtin_prefetch(w + AHEAD);
    for (int half = 0; half < 2; ++half) {
      const __m256i pairs = _mm256_load_si256(reinterpret_cast<const __m256i*>(w) + half);
      const __m256i first = _mm256_and_si256(pairs, low);
      const __m256i second = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), low);
      for (int r = 0; r < R; ++r) {
        const int8_t* values = x[r] + line * 8;
        __m256i sum = _mm256_maddubs_epi16(first, broadcast_four(values));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(second, broadcast_four(values + 4)));
        sums[r][half] = _mm256_add_epi16(sums[r][half], sum);
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int half = 0; half < 2; ++half)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out[r] + half * 8),
                          _mm256_madd_epi16(sums[r][half], ones));
}

inline __m256 load_weights(const float* w) { return _mm256_load_ps(w); }
inline __m256 load_weights(const uint16_t* w) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(w)));
}

template <int R, class Weight>
inline void dot_float(const Weight* w, const float* const* x, int inputs, float (*out)[TILE]) {
  __m256 sums[R][2][2];  // [row][even or odd input][half of the tile]
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < 4; ++i) sums[r][i / 2][i % 2] = _mm256_setzero_ps();
  for (int input = 0; input < inputs; input += 2)
    for (int odd = 0; odd < 2; ++odd, w += TILE) {
      __builtin_prefetch(reinterpret_cast<const char*>(w) + AHEAD);
      const __m256 w0 = load_weights(w), w1 = load_weights(w + 8);
      for (int r = 0; r < R; ++r) {
        const __m256 value = _mm256_broadcast_ss(x[r] + input + odd);
        sums[r][odd][0] = _mm256_fmadd_ps(w0, value, sums[r][odd][0]);
        sums[r][odd][1] = _mm256_fmadd_ps(w1, value, sums[r][odd][1]);
      }
    }
  for (int r = 0; r < R; ++r)
    for (int half = 0; half < 2; ++half)
      _mm256_storeu_ps(out[r] + half * 8, _mm256_add_ps(sums[r][0][half], sums[r][1][half]));
}

template <class Scale>
inline void add_scaled(const int32_t* sums, int32_t minus, const Scale* scales, float scale,
                       float* out) {
  for (int lane = 0; lane < TILE; lane += 8) {
    const __m256i whole = _mm256_sub_epi32(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + lane)), _mm256_set1_epi32(minus));
    const __m256 scaled = _mm256_mul_ps(
        _mm256_cvtepi32_ps(whole),
        _mm256_mul_ps(load_weights(scales + lane), _mm256_set1_ps(scale)));
    _mm256_storeu_ps(out + lane, _mm256_add_ps(_mm256_loadu_ps(out + lane), scaled));
  }
}
