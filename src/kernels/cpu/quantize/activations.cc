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
constexpr float kMostSteps = 32512.0F;  // 127 * 256: the high part stays within -127 .. 127

uint32_t magnitude_bits(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

uint32_t largest_magnitude(const float* x, size_t count) {
  uint32_t largest = 0;
  for (size_t k = 0; k < count; ++k) largest = std::max(largest, magnitude_bits(x[k]));
  return largest;
}

// Sixteen chains of additions, folded by halves.
float sum_of_magnitudes(const float* x, size_t columns) {
  float lane[16] = {};
  for (size_t k = 0; k < columns; ++k) lane[k % 16] += std::fabs(x[k]);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

template <typename T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

}  // namespace

RowStep row_step(uint32_t largest_bits, float sum, size_t columns, Precision precision) {
  const float infinity = std::numeric_limits<float>::infinity();
  if (largest_bits >= kInfinityBits) return {std::numeric_limits<float>::quiet_NaN(), 0, infinity, false, true};
  const auto largest = std::bit_cast<float>(largest_bits);
  if (largest < kSmallest) return {0, 0, infinity, false, true};
  if (precision.whole_row) return {largest / 127.0F, 127.0F / largest, infinity, false, true};
  if (std::isinf(precision.step)) return {1, 1, 0, true, false};
  // Bounds for rows of numbers that no model has: a sum that overflowed, a step whose inverse would.
  const float step = std::clamp(precision.step * (sum / static_cast<float>(columns)), 0x1p-120F, 0x1p113F);
  const float limit = step * kMostSteps;
  return {step, 1.0F / step, limit, false, largest <= limit};
}

BlockScale block_scale(uint32_t largest_bits, const RowStep& row) {
  const auto largest = std::bit_cast<float>(largest_bits);
  if (row.plain) {
    if (largest < kSmallest) return {0, 0};
    return {largest / 127.0F, 127.0F / largest};
  }
  float scale = 1;
  while (largest > row.limit * scale) scale *= 2;
  return {scale, row.inverse / scale};
}

void round_row_scalar(const float* x, size_t columns, Precision precision, const GroupRow& to) {
  const RowStep row = row_step(largest_magnitude(x, columns), sum_of_magnitudes(x, columns), columns, precision);
  store(to.group + steps_offset(columns, to.rows) + 4 * to.in_group, row.step);
  for (size_t b = 0; b < columns / 32; ++b, x += 32) {
    const BlockScale s = row.reaches ? BlockScale{1, row.inverse} : block_scale(largest_magnitude(x, 32), row);
    std::byte* block = to.group + b * ActivationBlock::kRowBytes * to.rows;
    std::byte* low = block + 32 * to.in_group;
    std::byte* high = low + ActivationBlock::high(to.rows);
    int32_t sums[2] = {0, 0};
    uint32_t flags = s.scale == 1.0F ? 0 : ActivationBlock::kScaled;
    for (int i = 0; i < 32; ++i) {
      const int32_t q = s.inverse == 0 ? 0 : static_cast<int32_t>(std::nearbyint(x[i] * s.inverse));
      const int32_t over = (q + 128) >> 8;
      low[i] = static_cast<std::byte>(static_cast<uint8_t>(q));
      high[i] = static_cast<std::byte>(static_cast<uint8_t>(over));
      if (over != 0) flags |= 1u << (i / 4);
      sums[i / 16] += q;
    }
    const int32_t sum = sums[0] + sums[1];
    std::byte* numbers = block + 4 * to.in_group;
    store(numbers + ActivationBlock::scale(to.rows), s.scale);
    store(numbers + ActivationBlock::scale_sum(to.rows), s.scale * static_cast<float>(sum));
    store(numbers + ActivationBlock::bias(to.rows), -128 * sum);
    store(numbers + ActivationBlock::low_bias(to.rows), -128 * sums[0]);
    store(numbers + ActivationBlock::flags(to.rows), flags);
  }
}

}  // namespace detail

RoundRow round_row(Isa isa) {
#if defined(__x86_64__)
  if (isa >= Isa::kAvx512) return detail::round_row_avx512;
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
