#include "kernels/cpu/gemm/pack.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/gemm/codes.h"
#include "kernels/random_tensor.h"

namespace loci {
namespace {

bool rounds_scales(DType dtype) {
  switch (dtype) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
    case DType::kIQ4_XS:
      return true;
    default:
      return false;
  }
}

std::vector<float> packed_row(const test::StoredTensor& t, WeightLayout layout, uint32_t row) {
  const auto columns = static_cast<uint32_t>(t.tensor.columns());
  const auto rows = static_cast<uint32_t>(t.tensor.shape[0]);
  std::vector<std::byte> panel(panel_shape(layout, columns).bytes);
  PanelPacker(t.tensor.dtype, layout, columns)
      .pack(t.bytes.data(), *row_bytes(t.tensor.dtype, columns), rows, panel.data());
  std::vector<float> out(columns);
  unpack_panel_row(layout, columns, panel.data(), row, out);
  return out;
}

class PackEveryType : public testing::TestWithParam<DType> {};

TEST_P(PackEveryType, UnpackingGivesTheStoredNumbers) {
  const DType dtype = GetParam();
  test::Rng rng(21);
  for (size_t rows : {1u, 15u, 16u}) {
    const test::StoredTensor t = test::random_tensor(rng, dtype, rows, test::whole_blocks(dtype, 172));
    for (uint32_t r = 0; r < rows; ++r) {
      const std::vector<float> expected = t.row(r);
      const std::vector<float> out = packed_row(t, layout_of(dtype, true), r);
      if (!rounds_scales(dtype)) {
        EXPECT_EQ(out, expected) << info(dtype).name;
        continue;
      }
      float largest = 0;
      for (float v : expected) largest = std::max(largest, std::fabs(v));
      // scale * code and the minimum move by 2^-11 of themselves each.
      for (size_t k = 0; k < out.size(); ++k) EXPECT_NEAR(out[k], expected[k], 3 * largest * 0x1p-11F);
    }
  }
}

TEST_P(PackEveryType, FloatLayoutHoldsTheStoredNumbers) {
  test::Rng rng(22);
  const test::StoredTensor t = test::random_tensor(rng, GetParam(), 5, test::whole_blocks(GetParam(), 64));
  for (uint32_t r = 0; r < 5; ++r) EXPECT_EQ(packed_row(t, WeightLayout::kF32, r), t.row(r));
}

std::string type_name(const testing::TestParamInfo<DType>& p) { return std::string(info(p.param).name); }

INSTANTIATE_TEST_SUITE_P(Types, PackEveryType, testing::ValuesIn(all_dtypes().begin(), all_dtypes().end()), type_name);

// A scale that fp16 cannot hold by itself is held by the row's unit.
TEST(Pack, ScalesOutsideHalfPrecisionKeepTheirValue) {
  for (int exponent : {0, 1, 2, 100, 127, 200, 254, 255}) {
    test::Rng rng(23);
    test::StoredTensor t = test::random_tensor(rng, DType::kMXFP4, 2, 64);
    for (size_t at = 0; at < t.bytes.size(); at += 17) t.bytes[at] = static_cast<std::byte>(exponent);
    for (uint32_t r = 0; r < 2; ++r) EXPECT_EQ(packed_row(t, WeightLayout::kW8, r), t.row(r)) << exponent;
  }
  // q4_K: 2^-24 * 63 is far below fp16's normal numbers.
  test::Rng rng(24);
  test::StoredTensor t = test::random_tensor(rng, DType::kQ4_K, 1, 256);
  test::put(t.bytes.data(), to_half(0x1p-24F).bits);
  test::put(t.bytes.data() + 2, to_half(0x1p-23F).bits);
  const std::vector<float> expected = t.row(0), out = packed_row(t, WeightLayout::kW4m, 0);
  for (size_t k = 0; k < out.size(); ++k) EXPECT_EQ(out[k], expected[k]) << k;
}

TEST(Pack, LargeScalesDoNotOverflow) {
  test::Rng rng(25);
  test::StoredTensor t = test::random_tensor(rng, DType::kQ6_K, 1, 256);
  test::put(t.bytes.data() + 208, to_half(60000.0F).bits);
  const std::vector<float> expected = t.row(0), out = packed_row(t, WeightLayout::kW8x16, 0);
  for (size_t k = 0; k < out.size(); ++k) EXPECT_NEAR(out[k], expected[k], std::fabs(expected[k]) * 0x1p-11F) << k;
}

TEST(Pack, RowsOfVeryDifferentSizeKeepTheirPrecision) {
  test::Rng rng(26);
  test::StoredTensor t = test::random_tensor(rng, DType::kQ8_0, 2, 32);
  test::put(t.bytes.data(), to_half(50000.0F).bits);
  test::put(t.bytes.data() + 34, to_half(0x1.5p-22F).bits);
  for (uint32_t r = 0; r < 2; ++r) EXPECT_EQ(packed_row(t, WeightLayout::kW8, r), t.row(r));
}

TEST(Layout, PanelsAreWholeCacheLines) {
  for (WeightLayout layout : all_layouts()) {
    for (uint32_t columns : {32u, 64u, 576u, 1536u}) {
      if (info(layout).group > 1 && columns % info(layout).group != 0) continue;
      const PanelShape shape = panel_shape(layout, columns);
      EXPECT_EQ(shape.bytes % 64, 0u);
      EXPECT_LE(shape.blocks + shape.block_bytes, shape.bytes);
    }
  }
  // 4-bit with scale and minimum: 5 bits a weight, and 64 bytes of units.
  EXPECT_EQ(panel_shape(WeightLayout::kW4m, 576).bytes, 64u + 18 * 320);
}

}  // namespace
}  // namespace loci
