// One group of a tile in INT8, by the products of dots_*.h, for processors whose registers do
// not hold more rows than these take.

constexpr int ROWS8 = 4;  // of activations that are multiplied at once

// out += the products of R rows `x` with a group of weights, less `zeros`, scaled.
template <int R>
inline void add_group(const Block8& block, const int8_t* const* x, const int32_t* zeros,
                      const float* scales, float (*out)[TILE]) {
  int32_t sums[R][TILE];
  dot_int8<R>(block.fours[0], x, GROUP / 4, sums);
  for (int r = 0; r < R; ++r) add_scaled(sums[r], zeros[r], block.scales, scales[r], out[r]);
}
