#include "kernels/cpu/gemm/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/assert.h"
#include "base/half.h"
#include "kernels/cpu/gemm/codes.h"
#include "tensor/row_scaled.h"

namespace loci {
namespace {

constexpr int kUnitExponent = 8;  // the largest scale of a row becomes 2^7 <= scale < 2^8

// The e of unit = 2^e for a row with these scales and minimums. Non-finite ones (a broken file) stay what they are.
int unit_exponent(std::span<const float> scales, std::span<const float> minimums) {
  float largest = 0;
  for (std::span<const float> values : {scales, minimums}) {
    for (float v : values) {
      if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
    }
  }
  if (largest == 0) return 0;
  int exponent;  // largest = f * 2^exponent, 0.5 <= f < 1
  std::frexp(largest, &exponent);
  return std::max(exponent - kUnitExponent, -149);  // a float holds 2^-149
}

void store_half(std::byte* to, float value) {
  const Half h = to_half(value);
  std::memcpy(to, &h.bits, sizeof h.bits);
}

float load_half(const std::byte* from) {
  Half h;
  std::memcpy(&h.bits, from, sizeof h.bits);
  return to_float(h);
}

// Four consecutive columns of a row, from its decoded codes.
uint32_t four_codes(const uint8_t* codes) {
  uint32_t x;
  std::memcpy(&x, codes, sizeof x);
  return x;
}

// One block of 32 columns of one row into its bytes of the panel's vectors.
void interleave_4bit(const uint8_t* codes, uint32_t row, std::byte* block) {
  for (int j = 0; j < 4; ++j) {
    const uint32_t pair = four_codes(codes + 4 * j) | (four_codes(codes + 16 + 4 * j) << 4);
    std::memcpy(block + 64 * j + 4 * row, &pair, sizeof pair);
  }
}

void interleave_8bit(const uint8_t* codes, uint32_t row, std::byte* block) {
  for (int j = 0; j < 8; ++j) std::memcpy(block + 64 * j + 4 * row, codes + 4 * j, 4);
}

template <typename T>
void store_column(std::byte* panel, size_t column, uint32_t row, T value) {
  std::memcpy(panel + (column * kPanelRows + row) * sizeof(T), &value, sizeof value);
}

template <typename T>
T load_column(const std::byte* panel, size_t column, uint32_t row) {
  T value;
  std::memcpy(&value, panel + (column * kPanelRows + row) * sizeof(T), sizeof value);
  return value;
}

}  // namespace

PanelPacker::PanelPacker(DType dtype, WeightLayout layout, uint32_t columns)
    : dtype_(dtype), layout_(layout), columns_(columns), shape_(panel_shape(layout, columns)) {
  const LayoutInfo& l = info(layout);
  if (!l.integer) {
    floats_.resize(columns);
    return;
  }
  LOCI_ASSERT(layout == layout_of(dtype, true), "a stored type has one integer layout");
  codes_.resize(size_t{columns} * kPanelRows);
  if (l.exact) return;
  scales_.resize(size_t{columns} / l.group * kPanelRows);
  if (l.minimum) minimums_.resize(scales_.size());
}

void PanelPacker::pack(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel) {
  LOCI_ASSERT(rows >= 1 && rows <= kPanelRows, "a panel holds 1 to 16 rows");
  if (info(layout_).exact) {
    pack_exact(stored, row_stride, rows, panel);
  } else if (info(layout_).integer) {
    pack_integer(stored, row_stride, rows, panel);
  } else {
    pack_float(stored, row_stride, rows, panel);
  }
}

void PanelPacker::pack_integer(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel) {
  const LayoutInfo& l = info(layout_);
  const size_t groups = columns_ / l.group, groups_of_block = kBlockColumns / l.group;
  if (rows < kPanelRows) std::memset(panel, 0, shape_.bytes);
  for (uint32_t r = 0; r < rows; ++r) {
    const std::span<uint8_t> codes{codes_.data() + size_t{r} * columns_, columns_};
    const std::span<float> scales{scales_.data() + r * groups, groups};
    const std::span<float> minimums =
        l.minimum ? std::span<float>{minimums_.data() + r * groups, groups} : std::span<float>{};
    decode_codes(dtype_, stored + r * row_stride, {codes, scales, minimums});

    const int exponent = unit_exponent(scales, minimums);
    const float unit = std::ldexp(1.0F, exponent);
    std::memcpy(panel + r * sizeof unit, &unit, sizeof unit);
    const double by = std::ldexp(1.0, -exponent);  // a double, since 2^149 is no float
    std::byte* block = panel + shape_.blocks;
    for (size_t b = 0; b < columns_ / kBlockColumns; ++b, block += shape_.block_bytes) {
      const uint8_t* block_codes = codes.data() + b * kBlockColumns;
      l.bits == 4 ? interleave_4bit(block_codes, r, block) : interleave_8bit(block_codes, r, block);
      for (size_t i = 0; i < groups_of_block; ++i) {
        const size_t g = b * groups_of_block + i;
        std::byte* group = block + shape_.scales + i * shape_.group_bytes + r * 2;
        store_half(group, static_cast<float>(scales[g] * by));
        if (l.minimum) store_half(group + kPanelRows * 2, static_cast<float>(minimums[g] * by));
      }
    }
  }
}

void PanelPacker::pack_exact(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel) {
  const LayoutInfo& l = info(layout_);
  std::memset(panel, 0, shape_.bytes);
  for (uint32_t r = 0; r < rows; ++r) {
    const std::byte* row = stored + r * row_stride;
    const float unit = to_float(row_scale(row));
    std::memcpy(panel + r * sizeof unit, &unit, sizeof unit);
    for (size_t g = 0; g < (l.group == 0 ? 1 : columns_ / l.group); ++g) {
      const CodeGroup of = code_group(dtype_, row, g);
      std::byte* group = panel + kExactHeader + g * shape_.group_bytes;
      if (l.group == 0) {
        store_column(group, 0, r, -int32_t{of.zero});
      } else {
        store_column(group, 0, r, of.step);
        store_column(group, 1, r, static_cast<int8_t>(-of.zero * of.step));
      }
    }
    const std::span<uint8_t> codes{codes_.data(), columns_};
    row_codes(dtype_, row, codes);
    std::byte* block = panel + shape_.blocks;
    for (size_t b = 0; b < columns_ / kBlockColumns; ++b, block += shape_.block_bytes) {
      const uint8_t* block_codes = codes.data() + b * kBlockColumns;
      l.bits == 4 ? interleave_4bit(block_codes, r, block) : interleave_8bit(block_codes, r, block);
    }
  }
}

void PanelPacker::pack_float(const std::byte* stored, size_t row_stride, uint32_t rows, std::byte* panel) {
  std::memset(panel, 0, shape_.bytes);
  for (uint32_t r = 0; r < rows; ++r) {
    const std::byte* row = stored + r * row_stride;
    if (layout_ == WeightLayout::kF32) {
      dequantize_row(dtype_, row, floats_);
      for (size_t k = 0; k < columns_; ++k) store_column(panel, k, r, floats_[k]);
      continue;
    }
    for (size_t k = 0; k < columns_; ++k) {
      uint16_t bits;
      std::memcpy(&bits, row + 2 * k, sizeof bits);
      store_column(panel, k, r, bits);
    }
  }
}

namespace {

// The code of column k, which lies in this block.
int code_of(uint32_t bits, const std::byte* block, uint32_t row, size_t k) {
  const size_t in = k % kBlockColumns;
  const auto* codes = reinterpret_cast<const uint8_t*>(block) + row * 4 + in % 4;
  return bits == 8 ? codes[in / 4 * 64] : (codes[in % 16 / 4 * 64] >> (in / 16 * 4)) & 15;
}

void unpack_exact_row(WeightLayout layout, uint32_t columns, const std::byte* panel, uint32_t row,
                      std::span<float> out) {
  const LayoutInfo& l = info(layout);
  const PanelShape shape = panel_shape(layout, columns);
  const auto unit = load_column<float>(panel, 0, row);
  for (size_t k = 0; k < columns; ++k) {
    const std::byte* group = panel + kExactHeader + (l.group == 0 ? 0 : k / l.group) * shape.group_bytes;
    const int code = code_of(l.bits, panel + shape.blocks + k / kBlockColumns * shape.block_bytes, row, k);
    const int integer = l.group == 0 ? code + load_column<int32_t>(group, 0, row)
                                     : code * load_column<uint8_t>(group, 0, row) + load_column<int8_t>(group, 1, row);
    out[k] = unit * static_cast<float>(integer);
  }
}

}  // namespace

void unpack_panel_row(WeightLayout layout, uint32_t columns, const std::byte* panel, uint32_t row,
                      std::span<float> out) {
  const LayoutInfo& l = info(layout);
  if (l.exact) return unpack_exact_row(layout, columns, panel, row, out);
  if (layout == WeightLayout::kF32) {
    for (size_t k = 0; k < columns; ++k) out[k] = load_column<float>(panel, k, row);
    return;
  }
  if (!l.integer) {
    for (size_t k = 0; k < columns; ++k) {
      const auto bits = load_column<uint16_t>(panel, k, row);
      out[k] = layout == WeightLayout::kF16 ? to_float(Half{bits}) : to_float(BFloat16{bits});
    }
    return;
  }
  const PanelShape shape = panel_shape(layout, columns);
  float unit;
  std::memcpy(&unit, panel + row * sizeof unit, sizeof unit);
  const int bias = l.minimum ? 0 : 1 << (l.bits - 1);
  for (size_t k = 0; k < columns; ++k) {
    const size_t in = k % kBlockColumns;
    const std::byte* block = panel + shape.blocks + k / kBlockColumns * shape.block_bytes;
    const int code = code_of(l.bits, block, row, k);
    const std::byte* group = block + shape.scales + in / l.group * shape.group_bytes + row * 2;
    const float product = load_half(group) * static_cast<float>(code - bias);
    out[k] = unit * (l.minimum ? product + load_half(group + kPanelRows * 2) : product);
  }
}

}  // namespace loci
