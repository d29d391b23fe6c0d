// From the logits of one take to its next codes: top-k, softmax and the exponential race of
// engine/sampling.py, with the random numbers that torch has for a seed on a CPU.
//
// A number is drawn for every code, as torch does, but the logarithm that makes noise of it is
// taken only of those that top-k leaves: 250 of 2,048.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

// The Mersenne Twister MT19937 of Matsumoto and Nishimura 1998. A generator lives in its caller's
// memory: `WORDS` of the state, then how many of them are used up.
struct Twister {
  static constexpr int WORDS = 624, MIDDLE = 397;
  uint32_t state[WORDS];
  uint32_t used;

  void seed(uint32_t seed) {
    state[0] = seed;
    for (uint32_t i = 1; i < WORDS; ++i) {
      state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + i;
    }
    used = WORDS;
  }

  // Have the next words, none of them used.
  void twist() {
    const auto mixed = [](uint32_t high, uint32_t low) {
      const uint32_t both = (high & 0x80000000u) | (low & 0x7fffffffu);
      return (both >> 1) ^ (low & 1u ? 0x9908b0dfu : 0u);
    };
    constexpr int first = WORDS - MIDDLE;
    for (int i = 0; i < first; ++i) state[i] = state[i + MIDDLE] ^ mixed(state[i], state[i + 1]);
    for (int i = first; i < WORDS - 1; ++i) {
      state[i] = state[i - first] ^ mixed(state[i], state[i + 1]);
    }
    state[WORDS - 1] = state[MIDDLE - 1] ^ mixed(state[WORDS - 1], state[0]);
    used = 0;
  }

  // Word `i` as a random number.
  uint32_t tempered(uint32_t i) const {
    uint32_t y = state[i];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
  }

  // Of words `i` and `i` + 1, exponential noise with mean 1: −log(1 − u), where u has 53 bits.
  float exponential(uint32_t i) const {
    const uint64_t both = uint64_t(tempered(i)) << 32 | tempered(i + 1);
    const double u = double(both & ((uint64_t(1) << 53) - 1)) * (1.0 / double(uint64_t(1) << 53));
    return float(-std::log1p(-u));
  }
};

// The `k`-th largest of `x` [n]. Most are told apart by the first bits of a float, whose bits are
// in its order once those of negative ones are turned round.
class Selection {
 public:
  float largest(const float* x, int n, int k) {
    std::fill(std::begin(counts), std::end(counts), 0);
    for (int i = 0; i < n; ++i) ++counts[bin(x[i])];
    int at = BINS - 1;
    for (; counts[at] < k; --at) k -= counts[at];
    found.clear();
    for (int i = 0; i < n; ++i) {
      if (bin(x[i]) == at) found.push_back(x[i]);
    }
    std::nth_element(found.begin(), found.begin() + (k - 1), found.end(),
                     [](float a, float b) { return a > b; });
    return found[k - 1];
  }

 private:
  static constexpr int BITS = 12, BINS = 1 << BITS;
  int counts[BINS];
  std::vector<float> found;

  static int bin(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;
    return int(bits >> (32 - BITS));
  }
};

constexpr float IMPOSSIBLE = -std::numeric_limits<float>::infinity();

// The code of one codebook from its logits `x` [n], none of which is NaN: one of those from
// `threshold` on.
inline int64_t draw(Twister& twister, const float* x, int n, float threshold) {
  const float most = *std::max_element(x, x + n);
  float best = 0;
  int64_t code = 0;
  for (int i = 0; i < n;) {
    if (twister.used == Twister::WORDS) twister.twist();
    const int count = std::min(n - i, int(Twister::WORDS - twister.used) / 2);
    for (int j = 0; j < count; ++j) {
      const float logit = x[i + j];
      if (logit < threshold) continue;
      const float pace = std::exp(logit - most) / twister.exponential(twister.used + 2 * j);
      if (pace > best) best = pace, code = i + j;
    }
    i += count;
    twister.used += 2 * count;
  }
  return code;
}

// The codes of all codebooks, in turn, from their logits [codebooks, n].
inline void draw(Twister& twister, const float* logits, int codebooks, int n, float temperature,
                 int top_k, int64_t* codes) {
  Selection selection;
  std::vector<float> x(n);
  for (int k = 0; k < codebooks; ++k, logits += n) {
    for (int i = 0; i < n; ++i) {
      x[i] = logits[i] / temperature;
      if (!(x[i] == x[i])) x[i] = IMPOSSIBLE;
    }
    const float least = top_k < n ? selection.largest(x.data(), n, top_k) : IMPOSSIBLE;
    codes[k] = draw(twister, x.data(), n, std::max(least, std::numeric_limits<float>::lowest()));
  }
}
