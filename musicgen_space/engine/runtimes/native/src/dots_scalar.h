// The products behind everything, for any processor. The other dots_*.h say the same in
// their processor's words; integer sums are exact, so they all agree to the bit.
//
// R rows of activations `x` meet one tile of 16 rows of weights `w`; out [R][16].

// Four inputs of two rows side by side, in 16 bits, which a product of two bytes fits in. Written
// as vectors, since compilers differ by half in what they make of plain loops.
typedef int16_t Eight __attribute__((vector_size(16)));
typedef uint8_t EightBytes __attribute__((vector_size(8)));
typedef int32_t FourSums __attribute__((vector_size(16)));
constexpr int PARTS_OF_LINE = LINE / 8;

inline Eight twice_four(const int8_t* x) {
  return Eight{x[0], x[1], x[2], x[3], x[0], x[1], x[2], x[3]};
}

inline Eight widen_eight(const uint8_t* w) {
  EightBytes bytes;
  std::memcpy(&bytes, w, sizeof bytes);
  return __builtin_convertvector(bytes, Eight);
}

// Neighbours added up, in 32 bits.
inline FourSums add_neighbours(Eight products) {
  const FourSums pairs = reinterpret_cast<FourSums>(products);
  return (pairs << 16 >> 16) + (pairs >> 16);
}

// Each row's sum, of which there are two halves.
inline void put_rows(const FourSums* sums, int32_t* out) {
  for (int part = 0; part < PARTS_OF_LINE; ++part)
    for (int row = 0; row < 2; ++row)
      out[part * 2 + row] = sums[part][row * 2] + sums[part][row * 2 + 1];
}

// INT8: `fours` times four inputs, the weights as 1 … 127.
template <int R>
inline void dot_int8(const uint8_t* w, const int8_t* const* x, int fours, int32_t (*out)[TILE]) {
  for (int r = 0; r < R; ++r) {
    FourSums sums[PARTS_OF_LINE] = {};
    for (int four = 0; four < fours; ++four) {
      const Eight values = twice_four(x[r] + four * 4);
      for (int part = 0; part < PARTS_OF_LINE; ++part)
        sums[part] += add_neighbours(widen_eight(w + four * LINE + part * 8) * values);
    }
    put_rows(sums, out[r]);
  }
}

// INT4: one group of 32 inputs, the weights as 0 … 15; eight of their products fit in 16 bits.
template <int R>
inline void dot_int4(const uint8_t* w, const int8_t* const* x, int32_t (*out)[TILE]) {
  for (int r = 0; r < R; ++r) {
    Eight products[PARTS_OF_LINE] = {};
    for (int line = 0; line < SMALL / 8; ++line) {
      const Eight first = twice_four(x[r] + line * 8), second = twice_four(x[r] + line * 8 + 4);
      for (int part = 0; part < PARTS_OF_LINE; ++part) {
        const Eight pairs = widen_eight(w + line * LINE + part * 8);
        products[part] += (pairs & 15) * first + (pairs >> 4) * second;
      }
    }
    FourSums sums[PARTS_OF_LINE];
    for (int part = 0; part < PARTS_OF_LINE; ++part) sums[part] = add_neighbours(products[part]);
    put_rows(sums, out[r]);
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
