#include "kernels/cpu/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/gemm/pack.h"
#include "kernels/cpu/gemm/widen.h"
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
    case WeightLayout::kW4Row:
      return DType::kW4Row;
    case WeightLayout::kW4G32:
      return DType::kW4G32;
    case WeightLayout::kW4G64:
      return DType::kW4G64;
    case WeightLayout::kW4G128:
      return DType::kW4G128;
    case WeightLayout::kW8Row:
      return DType::kW8Row;
    case WeightLayout::kF32:
      return DType::kF32;
    case WeightLayout::kF16:
      return DType::kF16;
    case WeightLayout::kBF16:
      return DType::kBF16;
  }
  return DType::kF32;
}

constexpr Precision kPlainActivations{std::numeric_limits<float>::infinity()};
constexpr Precision kFineActivations{0.01F};
constexpr Precision kWholeRows{std::numeric_limits<float>::infinity(), true};

// What the layout's products take.
std::vector<Precision> precisions(WeightLayout layout) {
  if (info(layout).exact) return {kWholeRows};
  return {kPlainActivations, kFineActivations};
}

// 1, 2 or 4 panels.
struct Tile {
  WeightLayout layout;
  uint32_t columns;
  uint32_t outputs;
  std::vector<std::byte> bytes;

  Tile(test::Rng& rng, WeightLayout l, uint32_t k, uint32_t n) : Tile(test::random_tensor(rng, type_of(l), n, k), l) {}
  Tile(const test::StoredTensor& t, WeightLayout l)
      : layout(l),
        columns(static_cast<uint32_t>(t.tensor.columns())),
        outputs(static_cast<uint32_t>(t.tensor.rows())),
        bytes(panels() * panel_shape(l, columns).bytes) {
    const size_t stride = *row_bytes(t.tensor.dtype, columns);
    PanelPacker packer(t.tensor.dtype, l, columns);
    for (uint32_t p = 0; p < panels(); ++p) {
      packer.pack(t.bytes.data() + p * 16 * stride, stride, std::min(16u, outputs - 16 * p), panel(p));
    }
  }

  uint32_t panels() const { return (outputs + 15) / 16; }
  std::byte* panel(uint32_t p) { return bytes.data() + p * panel_shape(layout, columns).bytes; }
  const std::byte* panel(uint32_t p) const { return bytes.data() + p * panel_shape(layout, columns).bytes; }

  // [rows, 16 panels]: numbers beyond `outputs` stay what they are.
  std::vector<float> product(Isa isa, std::span<const float> x, uint32_t rows,
                             Precision precision = kPlainActivations) const {
    const bool integer = info(layout).integer;
    std::vector<std::byte> group(rows * (integer ? rounded_row_bytes(columns) : float_row_bytes(columns)));
    for (uint32_t r = 0; r < rows; ++r) {
      const GroupRow to{group.data(), rows, r};
      const float* row = x.data() + size_t{r} * columns;
      integer ? round_row(isa)(row, columns, precision, to) : place_row(row, columns, to);
    }
    std::vector<float> out(size_t{rows} * 16 * panels(), -7.0F);
    multiply_tile(layout, isa)({.panel = bytes.data(),
                                .panels = panels(),
                                .shape = panel_shape(layout, columns),
                                .columns = columns,
                                .group = group.data(),
                                .rows = rows,
                                .out = out.data(),
                                .out_stride = size_t{16} * panels(),
                                .outputs = outputs,
                                .ahead = nullptr,
                                .ahead_lines = 0});
    return out;
  }
};

class GemmEveryLayout : public testing::TestWithParam<WeightLayout> {};

// Against a sum in double of what the kernel multiplies: rounded activations and unpacked weights.
TEST_P(GemmEveryLayout, ScalarMatchesDoublePrecision) {
  test::Rng rng(31);
  const WeightLayout layout = GetParam();
  const uint32_t columns = info(layout).integer ? 512 : 172;
  const Tile tile(rng, layout, columns, 32);
  const std::vector<float> x = test::normals(rng, columns);
  std::vector<double> used(x.begin(), x.end());
  if (info(layout).integer) {
    const size_t rounded = info(layout).exact ? columns : 32;  // columns that are rounded together
    for (size_t b = 0; b < columns; b += rounded) {
      float largest = 0;
      for (size_t i = b; i < b + rounded; ++i) largest = std::max(largest, std::fabs(x[i]));
      for (size_t i = b; i < b + rounded; ++i) {
        used[i] = std::nearbyint(x[i] * (127.0F / largest)) * static_cast<double>(largest / 127.0F);
      }
    }
  }
  const std::vector<float> out = tile.product(Isa::kScalar, x, 1, precisions(layout).front());
  std::vector<float> w(columns);
  for (uint32_t r = 0; r < 32; ++r) {
    unpack_panel_row(layout, columns, tile.panel(r / 16), r % 16, w);
    double sum = 0, magnitude = 0;
    for (size_t k = 0; k < columns; ++k) {
      sum += w[k] * used[k];
      magnitude += std::fabs(w[k] * used[k]);
    }
    EXPECT_NEAR(out[r], sum, 1e-6 * magnitude) << "output " << r;
  }
}

// The step bounds the error, with whatever sticks out.
TEST_P(GemmEveryLayout, HighPartsAddWhatDoesNotFit) {
  if (!info(GetParam()).integer || info(GetParam()).exact) return;
  test::Rng rng(35);
  const Tile tile(rng, GetParam(), 256, 16);
  std::vector<float> x = test::normals(rng, 256);
  for (size_t k = 3; k < 256; k += 50) x[k] *= 300;
  double mean = 0;
  for (float v : x) mean += std::fabs(v) / 256;
  std::vector<float> w(256);
  const std::vector<float> out = tile.product(Isa::kScalar, x, 1, kFineActivations);
  for (uint32_t r = 0; r < 16; ++r) {
    unpack_panel_row(GetParam(), 256, tile.panel(0), r, w);
    double sum = 0, bound = 0;
    for (size_t k = 0; k < 256; ++k) {
      sum += double{w[k]} * x[k];
      bound += std::fabs(w[k]) * (0.501 * kFineActivations.step * mean + 1e-6 * std::fabs(x[k]));
    }
    EXPECT_NEAR(out[r], sum, bound) << "output " << r;
  }
}

TEST_P(GemmEveryLayout, EveryInstructionSetAndRowCountGivesTheSameBits) {
  test::Rng rng(32);
  const WeightLayout layout = GetParam();
  for (uint32_t columns : {256u, 512u}) {
    for (uint32_t outputs : {1u, 16u, 17u, 32u, 55u, 64u}) {
      if (outputs > 32 && !info(layout).integer) continue;  // float tiles have at most 2 panels
      const Tile tile(rng, layout, columns, outputs);
      std::vector<float> x = test::normals(rng, kTileGroupRows * columns);
      for (size_t i = 0; i < columns; ++i) x[i] = i % 32 == 0 ? 127.0F : (i % 2 ? 126.6F : -126.6F);  // largest sums
      for (size_t i = columns; i < 3 * columns; ++i) x[i] *= i % 7 == 0 ? 1000.0F : 1.0F;             // wide codes
      for (const Precision precision : precisions(layout)) {
        std::vector<float> expected;
        for (uint32_t r = 0; r < kTileGroupRows; ++r) {
          const auto one = tile.product(Isa::kScalar, std::span(x).subspan(size_t{r} * columns, columns), 1, precision);
          expected.insert(expected.end(), one.begin(), one.end());
        }
        for (Isa isa : supported_isas()) {
          for (uint32_t rows : {1u, 2u, 3u, 4u, 6u, kTileGroupRows}) {
            if (group_rows(isa, info(layout).integer, rows) != rows) continue;
            if (rows == kTileGroupRows && wider_layout(layout)) continue;  // multiplied in the wider one
            const std::vector<float> out = tile.product(isa, x, rows, precision);
            EXPECT_TRUE(test::same_bits(out, std::span(expected).first(out.size())))
                << info(layout).name << " " << to_string(isa) << " rows " << rows << " outputs " << outputs;
          }
        }
      }
    }
  }
}

// The 8-bit codes -128 and 127 against activations of 127, and of 127 with a high part: where saturating instructions
// would show.
TEST(Gemm, ExtremeCodesDoNotSaturate) {
  for (Isa isa : supported_isas()) {
    for (int code : {-128, -127, 127}) {
      test::Rng rng(33);
      test::StoredTensor t = test::random_tensor(rng, DType::kQ8_0, 16, 32);
      for (size_t r = 0; r < 16; ++r) {
        test::put(t.bytes.data() + 34 * r, to_half(1.0F).bits);
        for (size_t i = 0; i < 32; ++i) t.bytes[34 * r + 2 + i] = static_cast<std::byte>(static_cast<uint8_t>(code));
      }
      const Tile tile(t, WeightLayout::kW8);
      for (float sign : {1.0F, -1.0F}) {
        std::vector<float> x(32, 127.0F * sign);
        for (float v : tile.product(isa, x, 1)) {
          EXPECT_EQ(v, sign * 32 * 127 * static_cast<float>(code)) << to_string(isa);
        }
        for (float& v : x) v = 32512.0F * sign;  // a step of about 1: all 32 columns have the largest high part
        const float expected = sign * 32 * 32512 * static_cast<float>(code);
        for (float v : tile.product(isa, x, 1, Precision{1.000001F / 32512})) {
          EXPECT_NEAR(v / expected, 1, 3e-6) << to_string(isa);
        }
      }
    }
  }
}

TEST_P(GemmEveryLayout, NotFiniteInputsReachTheOutputsAndNothingElse) {
  test::Rng rng(34);
  const Tile tile(rng, GetParam(), 256, 16);
  for (Isa isa : supported_isas()) {
    std::vector<float> x = test::normals(rng, 2 * 256);
    for (const Precision precision : precisions(GetParam())) {
      const std::vector<float> clean = tile.product(isa, x, 2, precision);
      std::vector<float> bad = x;
      bad[256 + 77] = std::nanf("");
      const std::vector<float> out = tile.product(isa, bad, 2, precision);
      EXPECT_TRUE(test::same_bits(std::span(out).first(16), std::span(clean).first(16)));
      for (size_t i = 16; i < 32; ++i) EXPECT_TRUE(std::isnan(out[i])) << to_string(isa);
    }
  }
}

std::string layout_name(const testing::TestParamInfo<WeightLayout>& p) { return std::string(info(p.param).name); }

INSTANTIATE_TEST_SUITE_P(Layouts, GemmEveryLayout, testing::ValuesIn(all_layouts().begin(), all_layouts().end()),
                         layout_name);

}  // namespace
}  // namespace loci
