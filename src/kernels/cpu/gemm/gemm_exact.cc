// The scalar reference of the exact layouts: integers from a row's first column to its last.
#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci {
namespace {

template <typename T>
T number_at(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

struct ExactPanel {
  const std::byte* at;
  const LayoutInfo& layout;
  const PanelShape& shape;

  // The integer that stands for the weight of output `row` and column k.
  int32_t integer(uint32_t row, size_t k) const {
    const size_t in = k % kBlockColumns;
    const auto* codes = reinterpret_cast<const uint8_t*>(at + shape.blocks + k / kBlockColumns * shape.block_bytes);
    codes += row * 4 + in % 4;
    const int32_t code = layout.bits == 8 ? codes[in / 4 * 64] : (codes[in % 16 / 4 * 64] >> (in / 16 * 4)) & 15;
    if (layout.group == 0) return code + number_at<int32_t>(at + kExactHeader + 4 * row);
    const std::byte* group = at + kExactHeader + k / layout.group * shape.group_bytes + row;
    return code * number_at<uint8_t>(group) + number_at<int8_t>(group + kPanelRows);
  }
};

template <WeightLayout kLayout>
void multiply_exact(const TileProduct& t) {
  for (uint32_t output = 0; output < t.outputs; ++output) {
    const ExactPanel panel{t.panel + output / kPanelRows * t.shape.bytes, info(kLayout), t.shape};
    for (uint32_t row = 0; row < t.rows; ++row) {
      int32_t sum = 0;
      for (size_t k = 0; k < t.columns; ++k) {
        const std::byte* block = t.group + k / kBlockColumns * ActivationBlock::kRowBytes * t.rows;
        sum += panel.integer(output % kPanelRows, k) * number_at<int8_t>(block + 32 * row + k % kBlockColumns);
      }
      const auto unit = number_at<float>(panel.at + 4 * (output % kPanelRows));
      const auto step = number_at<float>(t.group + steps_offset(t.columns, t.rows) + 4 * row);
      t.out[row * t.out_stride + output] = static_cast<float>(sum) * unit * step;
    }
  }
}

}  // namespace

MultiplyTile detail::multiply_exact_scalar(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::kW4Row:
      return multiply_exact<WeightLayout::kW4Row>;
    case WeightLayout::kW4G32:
      return multiply_exact<WeightLayout::kW4G32>;
    case WeightLayout::kW4G64:
      return multiply_exact<WeightLayout::kW4G64>;
    case WeightLayout::kW4G128:
      return multiply_exact<WeightLayout::kW4G128>;
    case WeightLayout::kW8Row:
      return multiply_exact<WeightLayout::kW8Row>;
    default:
      LOCI_ASSERT(false, "an exact layout");
  }
}

}  // namespace loci
