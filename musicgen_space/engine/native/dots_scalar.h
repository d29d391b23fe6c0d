// The products behind everything, for any processor. The other dots_*.h say the same in
// their processor's words; integer sums are exact, so they all agree to the bit.
//
// R rows of activations `x` meet one tile of 16 rows of weights `w`; out [R][16].

// INT8: `fours` times four inputs, the weights as 1 … 127.
template <int R>
inline void dot_int8(const uint8_t* w, const int8_t* const* x, int fours, int32_t (*out)[TILE]) {
  for (int r = 0; r < R; ++r) {
    int32_t sums[TILE] = {};
    for (int four = 0; four < fours; ++four)
      for (int lane = 0; lane < TILE; ++lane)
        for (int i = 0; i < 4; ++i)
          sums[lane] += w[four * LINE + lane * 4 + i] * x[r][four * 4 + i];
    std::memcpy(out[r], sums, sizeof sums);
  }
}

// INT4: one group of 32 inputs, the weights as 0 … 15.
template <int R>
inline void dot_int4(const uint8_t* w, const int8_t* const* x, int32_t (*out)[TILE]) {
  for (int r = 0; r < R; ++r) {
    int32_t sums[TILE] = {};
    for (int line = 0; line < SMALL / 8; ++line)
      for (int lane = 0; lane < TILE; ++lane)
        for (int i = 0; i < 4; ++i) {
          const uint8_t pair = w[line * LINE + lane * 4 + i];
          sums[lane] += (pair & 15) * x[r][line * 8 + i] + (pair >> 4) * x[r][line * 8 + 4 + i];
        }
    std::memcpy(out[r], sums, sizeof sums);
  }
}

inline float load_weight(const float* w) { return *w; }
inline float load_weight(const uint16_t* w) { return widen(*w); }

// FLOAT32 and FLOAT16: even and odd inputs are summed apart, and then together.
template <int R, class Weight>
inline void dot_float(const Weight* w, const float* const* x, int inputs, float (*out)[TILE]) {
  for (int r = 0; r < R; ++r) {
    float sums[2][TILE] = {};
    for (int i = 0; i < inputs; ++i)
      for (int lane = 0; lane < TILE; ++lane)
        sums[i % 2][lane] += load_weight(w + i * TILE + lane) * x[r][i];
    for (int lane = 0; lane < TILE; ++lane) out[r][lane] = sums[0][lane] + sums[1][lane];
  }
}

// out += (sums − minus) · (scales · scale), for 16 rows.
template <class Scale>
inline void add_scaled(const int32_t* sums, int32_t minus, const Scale* scales, float scale,
                       float* out) {
  for (int lane = 0; lane < TILE; ++lane)
    out[lane] += float(sums[lane] - minus) * (load_weight(scales + lane) * scale);
}
