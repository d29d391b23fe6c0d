// AVX-512 with VNNI: the integer products of dots_scalar.h, 16 rows in one register.
// The floating-point ones are AVX2's: they wait for memory either way.

template <int R>
inline void dot_int8_wide(const uint8_t* w, const int8_t* const* x, int fours,
                          int32_t (*out)[TILE]) {
  __m512i sums[R];
  for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
  for (int four = 0; four < fours; ++four, w += LINE) {
    __builtin_prefetch(w + AHEAD);
    const __m512i weights = _mm512_load_si512(w);
    for (int r = 0; r < R; ++r) {
      int32_t values;
      std::memcpy(&values, x[r] + four * 4, 4);
      sums[r] = _mm512_dpbusd_epi32(sums[r], weights, _mm512_set1_epi32(values));
    }
  }
  for (int r = 0; r < R; ++r) _mm512_storeu_si512(out[r], sums[r]);
}

template <int R>
inline void dot_int4_wide(const uint8_t* w, const int8_t* const* x, int32_t (*out)[TILE]) {
  const __m512i low = _mm512_set1_epi8(15);
  __m512i sums[R];
  for (int r = 0; r < R; ++r) sums[r] = _mm512_setzero_si512();
  for (int line = 0; line < SMALL / 8; ++line, w += LINE) {
    __builtin_prefetch(w + AHEAD);
    const __m512i pairs = _mm512_load_si512(w);
    const __m512i first = _mm512_and_si512(pairs, low);
    const __m512i second = _mm512_and_si512(_mm512_srli_epi16(pairs, 4), low);
    for (int r = 0; r < R; ++r) {
      int32_t values[2];
      std::memcpy(values, x[r] + line * 8, 8);
      sums[r] = _mm512_dpbusd_epi32(sums[r], first, _mm512_set1_epi32(values[0]));
      sums[r] = _mm512_dpbusd_epi32(sums[r], second, _mm512_set1_epi32(values[1]));
    }
  }
  for (int r = 0; r < R; ++r) _mm512_storeu_si512(out[r], sums[r]);
}

// As in group.h, but nothing leaves the registers, which hold more rows.
constexpr int ROWS8 = 8;

template <int R>
inline void add_group(const Block8& block, const int8_t* const* x, const int32_t* zeros,
                      const float* scales, float (*out)[TILE]) {
  __m512i sums[R];
  for (int r = 0; r < R; ++r) sums[r] = _mm512_set1_epi32(-zeros[r]);
  for (int four = 0; four < GROUP / 4; ++four) {
    __builtin_prefetch(block.fours[four] + AHEAD);
    const __m512i weights = _mm512_load_si512(block.fours[four]);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int32_t values;
      std::memcpy(&values, x[r] + four * 4, 4);
      sums[r] = _mm512_dpbusd_epi32(sums[r], weights, _mm512_set1_epi32(values));
    }
  }
  const __m512 of_weights = _mm512_load_ps(block.scales);
  for (int r = 0; r < R; ++r) {
    const __m512 scaled = _mm512_mul_ps(
        _mm512_cvtepi32_ps(sums[r]), _mm512_mul_ps(of_weights, _mm512_set1_ps(scales[r])));
    _mm512_storeu_ps(out[r], _mm512_add_ps(_mm512_loadu_ps(out[r]), scaled));
  }
}

#define dot_int8 dot_int8_wide
#define dot_int4 dot_int4_wide
