// Choice of the kernel, and the scalar reference of every layout.
#include "kernels/cpu/gemm/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/assert.h"
#include "base/half.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Sixteen integer dot products over columns [first, first + count) of a block.
template <int kBits>
void dot(const std::byte* codes, const int8_t* low, const int8_t* high, int first, int count, int32_t bias_sum,
         int32_t out[16]) {
  std::fill_n(out, 16, bias_sum);
  for (int k = first; k < first + count; ++k) {
    const int vector = kBits == 8 ? k / 4 : k % 16 / 4;
    const int shift = kBits == 8 ? 0 : k / 16 * 4;
    const auto* column = reinterpret_cast<const uint8_t*>(codes) + 64 * vector + k % 4;
    const int32_t q = low[k] + 256 * high[k];
    for (int r = 0; r < 16; ++r) out[r] += ((column[4 * r] >> shift) & ((1 << kBits) - 1)) * q;
  }
}

template <int kBits, int kGroup, bool kMinimum>
void multiply_row(const TileProduct& t, uint32_t panel_index, uint32_t row) {
  const std::byte* panel = t.panel + panel_index * t.shape.bytes;
  float acc[16] = {};
  for (uint32_t b = 0; b < t.columns / 32; ++b) {
    const std::byte* codes = panel + t.shape.blocks + b * t.shape.block_bytes;
    const std::byte* scales = codes + t.shape.scales;
    const std::byte* block = t.group + size_t{b} * ActivationBlock::kRowBytes * t.rows;
    const auto* low = reinterpret_cast<const int8_t*>(block + 32 * row);
    const auto* high = reinterpret_cast<const int8_t*>(block + ActivationBlock::high(t.rows) + 32 * row);
    const auto scale = load<float>(block + ActivationBlock::scale(t.rows) + 4 * row);
    const auto bias = load<int32_t>(block + ActivationBlock::bias(t.rows) + 4 * row);
    const auto low_bias = load<int32_t>(block + ActivationBlock::low_bias(t.rows) + 4 * row);
    for (int first = 0; first < 32; first += kGroup, scales += t.shape.group_bytes) {
      // -128 times the sum of the group's q.
      const int32_t group_bias = kGroup == 32 ? bias : first == 0 ? low_bias : bias - low_bias;
      int32_t idot[16];
      dot<kBits>(codes, low, high, first, kGroup, kMinimum ? 0 : kBits == 8 ? group_bias : group_bias / 16, idot);
      const float scale_sum = scale * static_cast<float>(group_bias / -128);
      for (int r = 0; r < 16; ++r) {
        acc[r] = std::fma(static_cast<float>(idot[r]), scale * to_float(load<Half>(scales + 2 * r)), acc[r]);
        if (kMinimum) acc[r] = std::fma(scale_sum, to_float(load<Half>(scales + 32 + 2 * r)), acc[r]);
      }
    }
  }
  const auto step = load<float>(t.group + steps_offset(t.columns, t.rows) + 4 * row);
  const uint32_t first_output = panel_index * kPanelRows;
  float* out = t.out + row * t.out_stride + first_output;
  for (uint32_t r = 0; r < std::min(t.outputs - first_output, kPanelRows); ++r) {
    out[r] = acc[r] * load<float>(panel + 4 * r) * step;
  }
}

template <int kBits, int kGroup, bool kMinimum>
void multiply_integer(const TileProduct& t) {
  for (uint32_t panel = 0; panel < t.panels; ++panel) {
    for (uint32_t row = 0; row < t.rows; ++row) multiply_row<kBits, kGroup, kMinimum>(t, panel, row);
  }
}

float to_float(float x) { return x; }

template <typename T>
void multiply_float(const TileProduct& t) {
  for (uint32_t output = 0; output < t.outputs; ++output) {
    const std::byte* panel = t.panel + output / kPanelRows * t.shape.bytes + output % kPanelRows * sizeof(T);
    for (uint32_t row = 0; row < t.rows; ++row) {
      float acc = 0;
      for (size_t k = 0; k < t.columns; ++k) {
        const auto x = load<float>(t.group + (k * t.rows + row) * 4);
        acc = std::fma(to_float(load<T>(panel + k * kPanelRows * sizeof(T))), x, acc);
      }
      t.out[row * t.out_stride + output] = acc;
    }
  }
}

}  // namespace

MultiplyTile detail::multiply_tile_scalar(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::kW4:
      return multiply_integer<4, 32, false>;
    case WeightLayout::kW4m:
      return multiply_integer<4, 32, true>;
    case WeightLayout::kW8:
      return multiply_integer<8, 32, false>;
    case WeightLayout::kW8m:
      return multiply_integer<8, 32, true>;
    case WeightLayout::kW8x16:
      return multiply_integer<8, 16, false>;
    case WeightLayout::kW8mx16:
      return multiply_integer<8, 16, true>;
    case WeightLayout::kF32:
      return multiply_float<float>;
    case WeightLayout::kF16:
      return multiply_float<Half>;
    case WeightLayout::kBF16:
      return multiply_float<BFloat16>;
    default:
      return multiply_exact_scalar(layout);
  }
}

MultiplyTile multiply_tile(WeightLayout layout, Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAmx) return detail::multiply_tile_amx(layout);
  if (isa >= Isa::kAvx512) return detail::multiply_tile_avx512(layout);
  if (isa == Isa::kAvx2) return detail::multiply_tile_avx2(layout);
#endif
  (void)isa;
  return detail::multiply_tile_scalar(layout);
}

}  // namespace loci
