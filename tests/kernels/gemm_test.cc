#include "kernels/cpu/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/gemm/pack.h"
#include "kernels/cpu/quantize/activations.h"
#include "kernels/random_tensor.h"

namespace loci {
namespace {

// A stored type for each layout.
DType type_of(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::kW4:
      return DType::kQ4_0;
    case WeightLayout::kW4m:
      return DType::kQ4_K;
    case WeightLayout::kW8:
      return DType::kQ8_0;
    case WeightLayout::kW8m:
      return DType::kQ5_K;
    case WeightLayout::kW8x16:
      return DType::kQ6_K;
    case WeightLayout::kW8mx16:
      return DType::kQ2_K;
    case WeightLayout::kF32:
      return DType::kF32;
    case WeightLayout::kF16:
      return DType::kF16;
    case WeightLayout::kBF16:
      return DType::kBF16;
  }
  return DType::kF32;
}

struct Panel {
  WeightLayout layout;
  uint32_t columns;
  uint32_t outputs;
  std::vector<std::byte> bytes;

  Panel(test::Rng& rng, WeightLayout l, uint32_t k, uint32_t n) : layout(l), columns(k), outputs(n) {
    const DType dtype = type_of(l);
    const test::StoredTensor t = test::random_tensor(rng, dtype, n, k);
    bytes.resize(panel_shape(l, k).bytes);
    PanelPacker(dtype, l, k).pack(t.bytes.data(), *row_bytes(dtype, k), n, bytes.data());
  }

  // [rows, 16]: numbers beyond `outputs` stay what they are.
  std::vector<float> product(Isa isa, std::span<const float> x, uint32_t rows) const {
    const bool integer = info(layout).integer;
    std::vector<std::byte> group(rows * (integer ? rounded_row_bytes(columns) : float_row_bytes(columns)));
    for (uint32_t r = 0; r < rows; ++r) {
      const GroupRow to{group.data(), rows, r};
      const float* row = x.data() + size_t{r} * columns;
      integer ? round_row(isa)(row, columns, to) : place_row(row, columns, to);
    }
    std::vector<float> out(size_t{rows} * 16, -7.0F);
    multiply_panel(layout, isa)(
        {bytes.data(), panel_shape(layout, columns), columns, group.data(), rows, out.data(), 16, outputs});
    return out;
  }
};

class GemmEveryLayout : public testing::TestWithParam<WeightLayout> {};

// Against a sum in double of what the kernel multiplies: rounded activations and unpacked weights.
TEST_P(GemmEveryLayout, ScalarMatchesDoublePrecision) {
  test::Rng rng(31);
  const WeightLayout layout = GetParam();
  const uint32_t columns = info(layout).integer ? 512 : 172;
  const Panel panel(rng, layout, columns, 16);
  const std::vector<float> x = test::normals(rng, columns);
  std::vector<double> used(x.begin(), x.end());
  if (info(layout).integer) {
    for (size_t b = 0; b < columns; b += 32) {
      float largest = 0;
      for (size_t i = b; i < b + 32; ++i) largest = std::max(largest, std::fabs(x[i]));
      for (size_t i = b; i < b + 32; ++i) {
        used[i] = std::nearbyint(x[i] * (127.0F / largest)) * static_cast<double>(largest / 127.0F);
      }
    }
  }
  const std::vector<float> out = panel.product(Isa::kScalar, x, 1);
  std::vector<float> w(columns);
  for (uint32_t r = 0; r < 16; ++r) {
    unpack_panel_row(layout, columns, panel.bytes.data(), r, w);
    double sum = 0, magnitude = 0;
    for (size_t k = 0; k < columns; ++k) {
      sum += w[k] * used[k];
      magnitude += std::fabs(w[k] * used[k]);
    }
    EXPECT_NEAR(out[r], sum, 1e-6 * magnitude) << "output " << r;
  }
}

TEST_P(GemmEveryLayout, EveryInstructionSetAndRowCountGivesTheSameBits) {
  test::Rng rng(32);
  const WeightLayout layout = GetParam();
  for (uint32_t columns : {256u, 512u}) {
    for (uint32_t outputs : {1u, 9u, 16u}) {
      const Panel panel(rng, layout, columns, outputs);
      std::vector<float> x = test::normals(rng, 12 * columns);
      for (size_t i = 0; i < columns; ++i) x[i] = i % 32 == 0 ? 127.0F : (i % 2 ? 126.6F : -126.6F);  // largest sums
      std::vector<float> expected;
      for (uint32_t r = 0; r < 12; ++r) {
        const auto one = panel.product(Isa::kScalar, std::span(x).subspan(size_t{r} * columns, columns), 1);
        expected.insert(expected.end(), one.begin(), one.end());
      }
      for (Isa isa : supported_isas()) {
        for (uint32_t rows : {1u, 2u, 4u, 8u, 12u}) {
          if (group_rows(isa, rows) != rows) continue;
          const std::vector<float> out = panel.product(isa, x, rows);
          EXPECT_TRUE(test::same_bits(out, std::span(expected).first(out.size())))
              << info(layout).name << " " << to_string(isa) << " rows " << rows << " outputs " << outputs;
        }
      }
    }
  }
}

// The 8-bit codes -128 and 127 against activations of 127: where saturating instructions would show.
TEST(Gemm, ExtremeCodesDoNotSaturate) {
  for (Isa isa : supported_isas()) {
    for (int code : {-128, -127, 127}) {
      test::Rng rng(33);
      test::StoredTensor t = test::random_tensor(rng, DType::kQ8_0, 16, 32);
      for (size_t r = 0; r < 16; ++r) {
        test::put(t.bytes.data() + 34 * r, to_half(1.0F).bits);
        for (size_t i = 0; i < 32; ++i) t.bytes[34 * r + 2 + i] = static_cast<std::byte>(static_cast<uint8_t>(code));
      }
      Panel panel(rng, WeightLayout::kW8, 32, 16);
      PanelPacker(DType::kQ8_0, WeightLayout::kW8, 32).pack(t.bytes.data(), 34, 16, panel.bytes.data());
      for (float sign : {1.0F, -1.0F}) {
        const std::vector<float> x(32, 127.0F * sign);
        for (float v : panel.product(isa, x, 1))
          EXPECT_EQ(v, sign * 32 * 127 * static_cast<float>(code)) << to_string(isa);
      }
    }
  }
}

TEST_P(GemmEveryLayout, NotFiniteInputsReachTheOutputsAndNothingElse) {
  test::Rng rng(34);
  const Panel panel(rng, GetParam(), 256, 16);
  for (Isa isa : supported_isas()) {
    std::vector<float> x = test::normals(rng, 4 * 256);
    const std::vector<float> clean = panel.product(isa, x, 4);
    x[256 + 77] = std::nanf("");
    const std::vector<float> out = panel.product(isa, x, 4);
    EXPECT_TRUE(test::same_bits(std::span(out).first(16), std::span(clean).first(16)));
    EXPECT_TRUE(test::same_bits(std::span(out).last(32), std::span(clean).last(32)));
    for (size_t i = 16; i < 32; ++i) EXPECT_TRUE(std::isnan(out[i])) << to_string(isa);
  }
}

std::string layout_name(const testing::TestParamInfo<WeightLayout>& p) { return std::string(info(p.param).name); }

INSTANTIATE_TEST_SUITE_P(Layouts, GemmEveryLayout, testing::ValuesIn(all_layouts().begin(), all_layouts().end()),
                         layout_name);

}  // namespace
}  // namespace loci
