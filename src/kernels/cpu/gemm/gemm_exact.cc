// The scalar reference of the exact layouts: integers from a row's first column to its last.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm/exact_layout.h"
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
  int bits;
  int group;  // 0: one for the row
  const PanelShape& shape;

  // The integer that stands for the weight of output `row` and column k.
  int32_t integer(uint32_t row, size_t k) const {
    const size_t in = k % kBlockColumns;
    const auto* codes = reinterpret_cast<const uint8_t*>(at + shape.blocks + k / kBlockColumns * shape.block_bytes);
    codes += row * 4 + in % 4;
    const int32_t code = bits == 8 ? codes[in / 4 * 64] : (codes[in % 16 / 4 * 64] >> (in / 16 * 4)) & 15;
    if (group == 0) return code + number_at<int32_t>(at + kExactHeader + 4 * row);
    const std::byte* numbers = at + kExactHeader + k / static_cast<size_t>(group) * shape.group_bytes + row;
    return code * number_at<uint8_t>(numbers) + number_at<int8_t>(numbers + kPanelRows);
  }
};

template <int kBits, int kGroup>
struct ExactProduct {
  static void multiply(const TileProduct& t) {
    for (uint32_t output = 0; output < t.outputs; ++output) {
      const ExactPanel panel{t.panel + output / kPanelRows * t.shape.bytes, kBits, kGroup, t.shape};
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
};

}  // namespace

MultiplyTile detail::multiply_exact_scalar(WeightLayout layout) { return exact_product<ExactProduct>(layout); }

}  // namespace loci
