#include "kernels/cpu/quantize/activations.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace loci {
namespace detail {
namespace {

constexpr uint32_t kInfinityBits = 0x7f800000u;
constexpr float kSmallest = 0x1p-100F;

struct BlockScale {
  float scale;
  float inverse;  // 0: every q is 0
};

// From the largest |x| of a block, as bits: integers order magnitudes like floats do, with NaN above infinity.
BlockScale block_scale(uint32_t largest_bits) {
  if (largest_bits >= kInfinityBits) return {std::numeric_limits<float>::quiet_NaN(), 0};
  const float largest = std::bit_cast<float>(largest_bits);
  if (largest < kSmallest) return {0, 0};
  return {largest / 127.0F, 127.0F / largest};
}

}  // namespace

void round_row_scalar(const float* x, size_t columns, const GroupRow& to) {
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    uint32_t largest = 0;
    for (int i = 0; i < 32; ++i) {
      const uint32_t magnitude = std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu;
      largest = magnitude > largest ? magnitude : largest;
    }
    const BlockScale s = block_scale(largest);
    std::byte* block = to.group + b * ActivationBlock::kRowBytes * to.rows;
    std::byte* q = block + 32 * to.in_group;
    int32_t sums[2] = {0, 0};
    for (int i = 0; i < 32; ++i) {
      const int32_t v = s.inverse == 0 ? 0 : static_cast<int32_t>(std::nearbyint(x[i] * s.inverse));
      q[i] = static_cast<std::byte>(static_cast<uint8_t>(v));
      sums[i / 16] += v;
    }
    const int32_t sum = sums[0] + sums[1];
    const float scale_sum = s.scale * static_cast<float>(sum);
    const int32_t bias = -128 * sum, low_bias = -128 * sums[0];
    std::memcpy(block + ActivationBlock::scale(to.rows) + 4 * to.in_group, &s.scale, 4);
    std::memcpy(block + ActivationBlock::scale_sum(to.rows) + 4 * to.in_group, &scale_sum, 4);
    std::memcpy(block + ActivationBlock::bias(to.rows) + 4 * to.in_group, &bias, 4);
    std::memcpy(block + ActivationBlock::low_bias(to.rows) + 4 * to.in_group, &low_bias, 4);
  }
}

void rounding_rest_scalar(const float* x, size_t columns, const GroupRow& rounded, float* rest) {
  for (size_t b = 0; b < columns / 32; ++b) {
    const std::byte* block = rounded.group + b * ActivationBlock::kRowBytes * rounded.rows;
    const std::byte* q = block + 32 * rounded.in_group;
    float scale;
    std::memcpy(&scale, block + ActivationBlock::scale(rounded.rows) + 4 * rounded.in_group, sizeof scale);
    for (size_t i = 0; i < 32; ++i) {
      rest[b * 32 + i] = x[b * 32 + i] - static_cast<float>(std::bit_cast<int8_t>(q[i])) * scale;
    }
  }
}

}  // namespace detail

RoundingRest rounding_rest(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return detail::rounding_rest_avx512;
  if (isa == Isa::kAvx2) return detail::rounding_rest_avx2;
#endif
  (void)isa;
  return detail::rounding_rest_scalar;
}

RoundRow round_row(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return detail::round_row_avx512;
  if (isa == Isa::kAvx2) return detail::round_row_avx2;
#endif
  (void)isa;
  return detail::round_row_scalar;
}

void place_row(const float* x, size_t columns, const GroupRow& to) {
  if (to.rows == 1) {
    std::memcpy(to.group, x, columns * sizeof(float));
    return;
  }
  std::byte* out = to.group + 4 * to.in_group;
  for (size_t k = 0; k < columns; ++k) std::memcpy(out + k * 4 * to.rows, x + k, 4);
}

}  // namespace loci
