// ARM with the dot-product instructions (ARMv8.2; every Apple M): see dots_scalar.h.

inline int8x16_t broadcast_four(const int8_t* x) {
  int32_t four;
  std::memcpy(&four, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

template <int R>
inline void dot_int8(const uint8_t* w, const int8_t* const* x, int fours, int32_t (*out)[TILE]) {
  int32x4_t sums[R][4];
  for (int r = 0; r < R; ++r)
    for (int part = 0; part < 4; ++part) sums[r][part] = vdupq_n_s32(0);
  for (int four = 0; four < fours; ++four, w += LINE) {
    __builtin_prefetch(w + 1024);
    for (int part = 0; part < 4; ++part) {
      const int8x16_t weights = vreinterpretq_s8_u8(vld1q_u8(w + part * 16));
      for (int r = 0; r < R; ++r)
        sums[r][part] = vdotq_s32(sums[r][part], weights, broadcast_four(x[r] + four * 4));
    }
  }
  for (int r = 0; r < R; ++r)
    for (int part = 0; part < 4; ++part) vst1q_s32(out[r] + part * 4, sums[r][part]);
}

template <int R>
inline void dot_int4(const uint8_t* w, const int8_t* const* x, int32_t (*out)[TILE]) {
  int32x4_t sums[R][4];
  for (int r = 0; r < R; ++r)
    for (int part = 0; part < 4; ++part) sums[r][part] = vdupq_n_s32(0);
  for (int line = 0; line < SMALL / 8; ++line, w += LINE) {
    __builtin_prefetch(w + 1024);
    for (int part = 0; part < 4; ++part) {
      const uint8x16_t pairs = vld1q_u8(w + part * 16);
      const int8x16_t first = vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15)));
      const int8x16_t second = vreinterpretq_s8_u8(vshrq_n_u8(pairs, 4));
      for (int r = 0; r < R; ++r) {
        const int8_t* values = x[r] + line * 8;
        sums[r][part] = vdotq_s32(sums[r][part], first, broadcast_four(values));
        sums[r][part] = vdotq_s32(sums[r][part], second, broadcast_four(values + 4));
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int part = 0; part < 4; ++part) vst1q_s32(out[r] + part * 4, sums[r][part]);
}

inline float32x4_t load_weights(const float* w) { return vld1q_f32(w); }
inline float32x4_t load_weights(const uint16_t* w) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(w)));
}

template <int R, class Weight>
inline void dot_float(const Weight* w, const float* const* x, int inputs, float (*out)[TILE]) {
  float32x4_t sums[R][2][4];  // [row][even or odd input][quarter of the tile]
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < 8; ++i) sums[r][i / 4][i % 4] = vdupq_n_f32(0);
  for (int input = 0; input < inputs; input += 2)
    for (int odd = 0; odd < 2; ++odd, w += TILE)
      for (int part = 0; part < 4; ++part) {
        const float32x4_t weights = load_weights(w + part * 4);
        for (int r = 0; r < R; ++r)
          sums[r][odd][part] = vfmaq_n_f32(sums[r][odd][part], weights, x[r][input + odd]);
      }
  for (int r = 0; r < R; ++r)
    for (int part = 0; part < 4; ++part)
      vst1q_f32(out[r] + part * 4, vaddq_f32(sums[r][0][part], sums[r][1][part]));
}

template <class Scale>
inline void add_scaled(const int32_t* sums, int32_t minus, const Scale* scales, float scale,
                       float* out) {
  for (int lane = 0; lane < TILE; lane += 4) {
    const int32x4_t whole = vsubq_s32(vld1q_s32(sums + lane), vdupq_n_s32(minus));
    const float32x4_t scaled =
        vmulq_f32(vcvtq_f32_s32(whole), vmulq_n_f32(load_weights(scales + lane), scale));
    vst1q_f32(out + lane, vaddq_f32(vld1q_f32(out + lane), scaled));
  }
}
