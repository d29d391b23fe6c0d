// Weights, activations and caches as they lie in memory; the same for every processor.
//
// A matrix [rows, inputs] is cut into tiles of 16 rows, and a tile is read once from its
// first byte to its last. The 16 rows lie side by side, so a vector holds several rows and
// nothing is ever summed across it:
//
//   FLOAT32, FLOAT16   [inputs, padded to an even number][16 rows]
//   INT8               for every 128 inputs: scales [16 rows], then [32][16 rows][4 inputs]
//   INT4               the same, with a scale for every 32 inputs, and two fours in one
//                      byte: the first in its low half, the next in its high half
//
// Whole numbers are kept without a sign, INT8's −63 … 63 as 1 … 127, INT4's −8 … 7 as
// 0 … 15: processors multiply unsigned by signed bytes, and two products of 127 · 127 just
// fit in 16 bits. What that adds to a sum, 64 or 8 times the sum of the activations, is
// taken off again. Rows and inputs beyond the matrix count nothing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum Format : int { FLOAT32, FLOAT16, INT8, INT4 };

constexpr int TILE = 16;     // rows of a tile
constexpr int GROUP = 128;   // inputs whose activations, and INT8 weights, share a scale
constexpr int SMALL = 32;    // inputs whose INT4 weights share a scale
constexpr int LINE = 64;     // bytes of a cache line: four inputs of 16 rows in INT8

constexpr int LEVELS8 = 63;  // the largest number of INT8
constexpr int ZERO8 = 64;    // what stands for zero in INT8 …
constexpr int ZERO4 = 8;     // … and in INT4

inline int padded(int count, int to) { return (count + to - 1) / to * to; }

struct Block8 {
  float scales[TILE];
  uint8_t fours[GROUP / 4][LINE];
};

struct Block4 {
  uint16_t scales[GROUP / SMALL][TILE];  // float16
  uint8_t pairs[GROUP / SMALL][SMALL / 8][LINE];
};

// float16 → float32, exact; subnormal numbers too.
inline float widen(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16;
  const uint32_t bits = uint32_t(half & 0x7fff) << 13;
  float value;
  std::memcpy(&value, &bits, 4);
  value *= 0x1p112f;  // from float16's exponent bias 15 to 127
  uint32_t result;
  std::memcpy(&result, &value, 4);
  result |= sign;
  std::memcpy(&value, &result, 4);
  return value;
}

// float32 → float16, to the nearest, of numbers that float16 can reach.
inline uint16_t narrow(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t sign = (bits >> 16) & 0x8000;
  float magnitude = std::fabs(value) * 0x1p-112f;  // float16's subnormals become float32's
  std::memcpy(&bits, &magnitude, 4);
  bits += 0x0fff + ((bits >> 13) & 1);
  return uint16_t(sign | std::min<uint32_t>(bits >> 13, 0x7bff));
}

inline int nearest(float value, int low, int high) {
  return std::clamp(int(std::lrintf(value)), low, high);
}

// Memory on a boundary of its own, in large pages where it is large.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) {
    const size_t huge = size_t(2) << 20;
    align_ = bytes < huge ? 64 : huge;
    data_ = static_cast<uint8_t*>(::operator new(bytes + 4096, std::align_val_t(align_)));
#if defined(__linux__)
    if (align_ == huge) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (data_) ::operator delete(data_, std::align_val_t(align_));
  }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(align_, other.align_);
  }
  uint8_t* data_ = nullptr;
  size_t align_ = 64;
};

struct Matrix {
  Format format = FLOAT32;
  int rows = 0, inputs = 0;
  size_t tile_bytes = 0;
  Buffer data;

  Matrix() = default;
  Matrix(Format format, int rows, int inputs) : format(format), rows(rows), inputs(inputs) {
    const size_t blocks = padded(inputs, GROUP) / GROUP;
    switch (format) {
      case FLOAT32: tile_bytes = size_t(padded(inputs, 2)) * TILE * 4; break;
      case FLOAT16: tile_bytes = size_t(padded(inputs, 2)) * TILE * 2; break;
      case INT8: tile_bytes = blocks * sizeof(Block8); break;
      case INT4: tile_bytes = blocks * sizeof(Block4); break;
    }
    data = Buffer(tiles() * tile_bytes);
  }
  int tiles() const { return padded(rows, TILE) / TILE; }
  uint8_t* tile(int index) const { return data.as<uint8_t>() + index * tile_bytes; }

  // Fill tile `index` from the whole matrix `weights` [rows, inputs].
  void pack(int index, const float* weights) const {
    uint8_t* out = tile(index);
    std::memset(out, 0, tile_bytes);
    for (int lane = 0; lane < TILE && index * TILE + lane < rows; ++lane) {
      const float* row = weights + size_t(index * TILE + lane) * inputs;
      for (int start = 0; start < inputs; start += GROUP)
        pack_group(out, lane, start, row + start, std::min(GROUP, inputs - start));
    }
  }

 private:
  void pack_group(uint8_t* out, int lane, int start, const float* values, int count) const {
    if (format == FLOAT32) {
      float* to = reinterpret_cast<float*>(out) + size_t(start) * TILE + lane;
      for (int i = 0; i < count; ++i) to[i * TILE] = values[i];
    } else if (format == FLOAT16) {
      uint16_t* to = reinterpret_cast<uint16_t*>(out) + size_t(start) * TILE + lane;
      for (int i = 0; i < count; ++i) to[i * TILE] = narrow(values[i]);
    } else if (format == INT8) {
      pack8(reinterpret_cast<Block8*>(out)[start / GROUP], lane, values, count);
    } else {
      Block4& block = reinterpret_cast<Block4*>(out)[start / GROUP];
      for (int i = 0; i < count; i += SMALL)
        pack4(block.scales[i / SMALL][lane], block.pairs[i / SMALL], lane, values + i,
              std::min(SMALL, count - i));
    }
  }

  static float largest(const float* values, int count) {
    float most = 0;
    for (int i = 0; i < count; ++i) most = std::max(most, std::fabs(values[i]));
    return most;
  }

  static void pack8(Block8& block, int lane, const float* values, int count) {
    const float most = largest(values, count);
    block.scales[lane] = most / LEVELS8;
    const float inverse = most > 0 ? LEVELS8 / most : 0;
    for (int i = 0; i < count; ++i)
      block.fours[i / 4][lane * 4 + i % 4] =
          uint8_t(ZERO8 + nearest(values[i] * inverse, -LEVELS8, LEVELS8));
  }

  // Of a few scales the one with the smallest squared error.
  static void pack4(uint16_t& kept, uint8_t (*pairs)[LINE], int lane, const float* values,
                    int count) {
    const float most = largest(values, count);
    float best_scale = 0, best_error = INFINITY;
    for (float steps : {-8.5f, -8.0f, -7.5f, -7.0f, 7.0f, 7.5f, 8.0f, 8.5f}) {
      const float scale = widen(narrow(most / steps));
      if (scale == 0) continue;
      float error = 0;
      for (int i = 0; i < count; ++i) {
        const float miss = values[i] - scale * nearest(values[i] / scale, -8, 7);
        error += miss * miss;
      }
      if (error < best_error) best_error = error, best_scale = scale;
    }
    kept = narrow(best_scale);
    for (int i = 0; i < SMALL; ++i) {
      const bool real = i < count && best_scale != 0;
      const int four = ZERO4 + (real ? nearest(values[i] / best_scale, -8, 7) : 0);
      pairs[i / 8][lane * 4 + i % 4] |= uint8_t(i / 4 % 2 ? four << 4 : four);
    }
  }
};

// M rows of numbers that matrices are multiplied with; `bytes` once they are quantised.
struct Activations {
  int width = 0;            // inputs, padded to whole groups; what is padded is zero
  Buffer values_, bytes_, scales_, sums_, zeros_;

  Activations() = default;
  Activations(int rows, int inputs) : width(padded(inputs, GROUP)) {
    const size_t count = size_t(rows) * width;
    values_ = Buffer(count * 4);
    bytes_ = Buffer(count);
    scales_ = Buffer(count / GROUP * 4);
    sums_ = Buffer(count / SMALL * 4);
    zeros_ = Buffer(count / GROUP * 4);
    std::memset(values_.as<float>(), 0, count * 4);
  }
  float* values(int row) const { return values_.as<float>() + size_t(row) * width; }
  int8_t* bytes(int row) const { return bytes_.as<int8_t>() + size_t(row) * width; }
  float* scales(int row) const { return scales_.as<float>() + size_t(row) * (width / GROUP); }
  int32_t* sums(int row) const { return sums_.as<int32_t>() + size_t(row) * (width / SMALL); }
  // What ZERO8 adds to the products with a group.
  int32_t* zeros(int row) const { return zeros_.as<int32_t>() + size_t(row) * (width / GROUP); }
};

// Keys and values of one layer, for R rows of H heads; a row and head is a lane.
//
// Both lie as matrices do, in FLOAT32 or INT8: keys in tiles of 16 positions, their features
// the inputs; values in tiles of 16 features, the positions their inputs. In bytes, a
// position has a scale for its key and one for its value.
struct Cache {
  bool in_bytes = false;
  int width = 0;      // of a head
  int positions = 0;  // room, padded to whole tiles
  Buffer keys_, values_, key_scales_, value_scales_;

  Cache() = default;
  Cache(bool in_bytes, int lanes, int width, int room)
      : in_bytes(in_bytes), width(width), positions(padded(room, TILE)) {
    const size_t count = size_t(lanes) * positions, size = in_bytes ? 1 : 4;
    keys_ = Buffer(count * fours() * 4 * size);
    values_ = Buffer(count * padded(width, TILE) * size);
    key_scales_ = Buffer(in_bytes ? count * 4 : 0);
    value_scales_ = Buffer(in_bytes ? count * 4 : 0);
  }
  int fours() const { return padded(width, 4) / 4; }
  template <class T>
  T* keys(int lane) const {
    return keys_.as<T>() + size_t(lane) * positions * fours() * 4;
  }
  template <class T>
  T* values(int lane) const {
    return values_.as<T>() + size_t(lane) * positions * padded(width, TILE);
  }
  float* key_scales(int lane) const { return key_scales_.as<float>() + size_t(lane) * positions; }
  float* value_scales(int lane) const {
    return value_scales_.as<float>() + size_t(lane) * positions;
  }
};
