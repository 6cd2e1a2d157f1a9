// Sixteen floats, in plain C++: the reference of vec16_avx2.h and vec16_avx512.h. The three offer the same operations
// with the same rounding, so a kernel written once over Vec16 gives the same bits on every instruction set.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "kernels/cpu/math/exp_scalar.h"

namespace loci::simd_scalar {

struct Vec16 {
  float lane[16];

  static Vec16 broadcast(float x) {
    Vec16 out;
    for (float& y : out.lane) y = x;
    return out;
  }
  static Vec16 load(const float* p) {
    Vec16 out;
    std::memcpy(out.lane, p, sizeof out.lane);
    return out;
  }
  static Vec16 load_half(const uint16_t* p) {
    Vec16 out;
    for (int i = 0; i < 16; ++i) out.lane[i] = to_float(Half{p[i]});
    return out;
  }
  // Lane i is the unsigned field (word i >> shift) & mask of 16 little-endian 32-bit words.
  static Vec16 load_field(const std::byte* words, int shift, uint32_t mask) {
    uint32_t word[16];
    std::memcpy(word, words, sizeof word);
    Vec16 out;
    for (int i = 0; i < 16; ++i) out.lane[i] = static_cast<float>((word[i] >> shift) & mask);
    return out;
  }
  void store(float* p) const { std::memcpy(p, lane, sizeof lane); }
  void store_half(uint16_t* p) const {
    for (int i = 0; i < 16; ++i) p[i] = to_half(lane[i]).bits;
  }
};

inline Vec16 operator+(Vec16 a, const Vec16& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] += b.lane[i];
  return a;
}
inline Vec16 operator-(Vec16 a, const Vec16& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] -= b.lane[i];
  return a;
}
inline Vec16 operator*(Vec16 a, const Vec16& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] *= b.lane[i];
  return a;
}
// a * b + c with one rounding.
inline Vec16 fma(const Vec16& a, const Vec16& b, Vec16 c) {
  for (int i = 0; i < 16; ++i) c.lane[i] = std::fma(a.lane[i], b.lane[i], c.lane[i]);
  return c;
}
inline Vec16 max(Vec16 a, const Vec16& b) {
  for (int i = 0; i < 16; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
  return a;
}
inline Vec16 exp(Vec16 a) {
  for (float& x : a.lane) x = exp_scalar(x);
  return a;
}
// Lanes [first, last) of `a`, the others `other`.
inline Vec16 keep_lanes(Vec16 a, int first, int last, float other) {
  for (int i = 0; i < 16; ++i) {
    if (i < first || i >= last) a.lane[i] = other;
  }
  return a;
}
// Halves are added to halves: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
inline float sum(Vec16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.lane[i] += a.lane[i + width];
  }
  return a.lane[0];
}
inline float largest(const Vec16& a) {
  float out = a.lane[0];
  for (float x : a.lane) out = x > out ? x : out;
  return out;
}

// Rows and vectors that a register tile of this instruction set holds.
inline constexpr int kTileRows = 4;
inline constexpr int kTileVectors = 1;

}  // namespace loci::simd_scalar
