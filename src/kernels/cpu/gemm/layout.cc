#include "kernels/cpu/gemm/layout.h"

#include <array>

#include "base/assert.h"
#include "base/checked.h"

namespace loci {
namespace {

// In the order of WeightLayout.
constexpr std::array<LayoutInfo, 14> kLayouts = {{
    {"w4", true, 4, 32, false},
    {"w4m", true, 4, 32, true},
    {"w8", true, 8, 32, false},
    {"w8m", true, 8, 32, true},
    {"w8x16", true, 8, 16, false},
    {"w8mx16", true, 8, 16, true},
    {"w4_row", true, 4, 0, false, true},
    {"w4_g32", true, 4, 32, false, true},
    {"w4_g64", true, 4, 64, false, true},
    {"w4_g128", true, 4, 128, false, true},
    {"w8_row", true, 8, 0, false, true},
    {"f32", false, 32, 1, false},
    {"f16", false, 16, 1, false},
    {"bf16", false, 16, 1, false},
}};

constexpr std::array<WeightLayout, kLayouts.size()> kAllLayouts = {
    WeightLayout::kW4,     WeightLayout::kW4m,   WeightLayout::kW8,    WeightLayout::kW8m,   WeightLayout::kW8x16,
    WeightLayout::kW8mx16, WeightLayout::kW4Row, WeightLayout::kW4G32, WeightLayout::kW4G64, WeightLayout::kW4G128,
    WeightLayout::kW8Row,  WeightLayout::kF32,   WeightLayout::kF16,   WeightLayout::kBF16};

}  // namespace

const LayoutInfo& info(WeightLayout layout) {
  const auto index = static_cast<size_t>(layout);
  LOCI_ASSERT(index < kLayouts.size(), "a WeightLayout outside the enumeration");
  return kLayouts[index];
}

std::span<const WeightLayout> all_layouts() { return kAllLayouts; }

WeightLayout layout_of(DType dtype, bool integer) {
  if (!integer) return WeightLayout::kF32;
  switch (dtype) {
    case DType::kF32:
      return WeightLayout::kF32;
    case DType::kF16:
      return WeightLayout::kF16;
    case DType::kBF16:
      return WeightLayout::kBF16;
    case DType::kQ4_0:
      return WeightLayout::kW4;
    case DType::kQ4_1:
    case DType::kQ4_K:
      return WeightLayout::kW4m;
    case DType::kQ5_1:
    case DType::kQ5_K:
      return WeightLayout::kW8m;
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
    case DType::kMXFP4:
      return WeightLayout::kW8;
    case DType::kQ3_K:
    case DType::kQ6_K:
      return WeightLayout::kW8x16;
    case DType::kQ2_K:
      return WeightLayout::kW8mx16;
    case DType::kW4Row:
      return WeightLayout::kW4Row;
    case DType::kW4G32:
      return WeightLayout::kW4G32;
    case DType::kW4G64:
      return WeightLayout::kW4G64;
    case DType::kW4G128:
      return WeightLayout::kW4G128;
    case DType::kW8Row:
      return WeightLayout::kW8Row;
  }
  LOCI_ASSERT(false, "a DType outside the enumeration");
}

PanelShape panel_shape(WeightLayout layout, uint32_t columns) {
  const LayoutInfo& l = info(layout);
  PanelShape shape;
  if (!l.integer) {
    shape.bytes = round_up(size_t{columns} * kPanelRows * l.bits / 8, 64);
    return shape;
  }
  LOCI_ASSERT(columns % kBlockColumns == 0, "integer layouts hold whole blocks of columns");
  shape.blocks = kPanelRows * sizeof(float);
  if (l.exact) {
    LOCI_ASSERT(l.group == 0 || columns % l.group == 0, "a row is whole groups");
    shape.group_bytes = l.group == 0 ? kPanelRows * sizeof(int32_t) : kPanelRows * 2;
    shape.blocks = kExactHeader + round_up((l.group == 0 ? 1 : columns / l.group) * shape.group_bytes, 64);
    shape.scales = shape.block_bytes = size_t{kBlockColumns} * kPanelRows * l.bits / 8;
    shape.bytes = shape.blocks + columns / kBlockColumns * shape.block_bytes;
    return shape;
  }
  shape.scales = size_t{kBlockColumns} * kPanelRows * l.bits / 8;
  shape.group_bytes = kPanelRows * sizeof(uint16_t) * (l.minimum ? 2 : 1);
  shape.block_bytes = shape.scales + kBlockColumns / l.group * shape.group_bytes;
  shape.bytes = round_up(shape.blocks + columns / kBlockColumns * shape.block_bytes, 64);
  return shape;
}

}  // namespace loci
