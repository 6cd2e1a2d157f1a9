#include "kernels/cpu/quantize/activations.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace loci {
namespace detail {
namespace {

constexpr uint32_t kInfinityBits = 0x7f800000u;
constexpr float kSmallest = 0x1p-100F;

uint32_t magnitude_bits(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

// What four columns may reach without being wide. Sixteen chains of additions, folded by halves.
float narrow_limit(const float* x, size_t columns, Precision precision) {
  float lane[16] = {};
  for (size_t k = 0; k < columns; ++k) lane[k % 16] += std::fabs(x[k]);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return 127.0F * precision.step * (lane[0] / static_cast<float>(columns));
}

struct BlockScale {
  float scale;
  float inverse;  // 0: every q is 0
};

// Magnitudes are compared as bits: integers order them like floats do, with NaN above infinity.
BlockScale block_scale(const float* x, float limit) {
  uint32_t largest = 0;
  float largest_narrow = 0;
  for (int i = 0; i < 32; i += 4) {
    uint32_t four = 0;
    for (int j = i; j < i + 4; ++j) four = std::max(four, magnitude_bits(x[j]));
    largest = std::max(largest, four);
    const auto value = std::bit_cast<float>(four);
    if (!(value > limit)) largest_narrow = std::max(largest_narrow, value);
  }
  if (largest >= kInfinityBits) return {std::numeric_limits<float>::quiet_NaN(), 0};
  if (std::bit_cast<float>(largest) < kSmallest) return {0, 0};
  const float m = std::max(largest_narrow, std::bit_cast<float>(largest) * 0x1p-8F);
  return {m / 127.0F, 127.0F / m};
}

template <typename T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

}  // namespace

void round_row_scalar(const float* x, size_t columns, Precision precision, const GroupRow& to) {
  const float limit = narrow_limit(x, columns, precision);
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    const BlockScale s = block_scale(x, limit);
    std::byte* block = to.group + b * ActivationBlock::kRowBytes * to.rows;
    std::byte* low = block + 32 * to.in_group;
    std::byte* high = low + ActivationBlock::high(to.rows);
    int32_t sums[2] = {0, 0};
    uint32_t wide = 0;
    for (int i = 0; i < 32; ++i) {
      const int32_t q = s.inverse == 0 ? 0 : static_cast<int32_t>(std::nearbyint(x[i] * s.inverse));
      const int32_t over = (q + 128) >> 8;
      low[i] = static_cast<std::byte>(static_cast<uint8_t>(q));
      high[i] = static_cast<std::byte>(static_cast<uint8_t>(over));
      if (over != 0) wide |= 1u << (i / 4);
      sums[i / 16] += q;
    }
    const int32_t sum = sums[0] + sums[1];
    std::byte* row = block + 4 * to.in_group;
    store(row + ActivationBlock::scale(to.rows), s.scale);
    store(row + ActivationBlock::scale_sum(to.rows), s.scale * static_cast<float>(sum));
    store(row + ActivationBlock::bias(to.rows), -128 * sum);
    store(row + ActivationBlock::low_bias(to.rows), -128 * sums[0]);
    store(row + ActivationBlock::wide(to.rows), wide);
  }
}

}  // namespace detail

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
