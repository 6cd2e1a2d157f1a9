// Portable C++: what the compiler makes of plain loops and 16-byte vectors for the baseline instruction set.
#include <cstring>

#include "kernels/cpu/roof/roof.h"

namespace loci {
namespace {

using Float4 = float __attribute__((vector_size(16)));

constexpr int kChains = 10;  // independent float sums, to hide the latency of multiply and add
constexpr int kRepeat = 16;
constexpr int kDotLength = 512;

uint64_t read(const std::byte* data, size_t bytes) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < bytes; i += sizeof sums) {
    uint64_t words[8];
    std::memcpy(words, data + i, sizeof words);
    for (int j = 0; j < 8; ++j) sums[j] ^= words[j];
  }
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}

// Factors widened to 16 bits, as the portable product of 8-bit numbers needs them.
uint64_t int8_dots(size_t rounds, uint64_t seed) {
  int16_t a[kDotLength];
  int16_t b[kDotLength];
  for (int i = 0; i < kDotLength; ++i) {
    a[i] = static_cast<int8_t>(seed + static_cast<uint64_t>(i) * 37);
    b[i] = static_cast<int8_t>(seed * 3 + static_cast<uint64_t>(i) * 11);
  }
  uint64_t total = 0;
  for (size_t r = 0; r < rounds; ++r) {
    int32_t dot = 0;
    for (int i = 0; i < kDotLength; ++i) dot += int32_t{a[i]} * int32_t{b[i]};
    total += static_cast<uint32_t>(dot);
    // The compiler must believe that the factors may have changed.
    __asm__ volatile("" : : "r"(a), "r"(b) : "memory");
  }
  return total;
}

uint64_t f32_macs(size_t rounds, uint64_t seed) {
  const float start = 1.0F + static_cast<float>(seed % 7);
  const Float4 a{0.5F, 0.5F, 0.5F, 0.5F};
  const Float4 b{start, start, start, start};
  Float4 sums[kChains];
  for (Float4& s : sums) s = b;
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      for (Float4& s : sums) s = s * a + b;
    }
  }
  for (int j = 1; j < kChains; ++j) sums[0] += sums[j];
  return static_cast<uint64_t>((sums[0][0] + sums[0][1] + sums[0][2] + sums[0][3]) * 1000);
}

}  // namespace

RoofKernels roof_kernels_scalar() {
  return {.read = read,
          .int8_dots = int8_dots,
          .int8_macs_per_round = kDotLength,
          .f32_macs = f32_macs,
          .f32_macs_per_round = uint64_t{4} * kChains * kRepeat};
}

}  // namespace loci
