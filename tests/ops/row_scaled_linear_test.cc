// Products of rows with one scale against 64-bit integers: QServe's formulas (arXiv:2405.04532, equations 5 to 8).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "ops/linear.h"
#include "ops/op_fixture.h"
#include "tensor/row_scaled.h"

namespace loci {
namespace {

using test::Matrix;
using test::OpFixture;

constexpr DType kFormats[] = {DType::kW4Row, DType::kW4G32, DType::kW4G64, DType::kW4G128, DType::kW8Row};

struct RoundedActivations {
  std::vector<int64_t> x8;
  int64_t sum = 0;
  float step = 0;
};

RoundedActivations round_activations(std::span<const float> x) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::fabs(v));
  RoundedActivations out{.x8 = {}, .sum = 0, .step = largest / 127.0F};
  for (const float v : x) {
    out.x8.push_back(static_cast<int64_t>(std::nearbyint(v * (127.0F / largest))));
    out.sum += out.x8.back();
  }
  return out;
}

// The sum of raw codes times activations and what zeros take off it, per group: never the integers of weights
// themselves.
int64_t factored_product(const test::StoredTensor& t, size_t row, const RoundedActivations& x) {
  const DType dtype = t.tensor.dtype;
  const size_t columns = t.tensor.columns(), group = step_group(dtype) == 0 ? columns : step_group(dtype);
  const std::byte* stored = t.bytes.data() + row * *row_bytes(dtype, columns);
  std::vector<uint8_t> codes(columns);
  row_codes(dtype, stored, codes);
  int64_t total = 0;
  for (size_t g = 0; g < columns / group; ++g) {
    const CodeGroup of = code_group(dtype, stored, g);
    int64_t dot = 0, sum = 0;
    for (size_t k = g * group; k < (g + 1) * group; ++k) {
      dot += x.x8[k] * codes[k];
      sum += x.x8[k];
    }
    total += of.step * dot - int64_t{of.step} * of.zero * sum;
  }
  return total;
}

TEST(RowScaledLinear, SumsAreExactForEveryNumberOfRows) {
  test::Rng rng(71);
  for (const DType dtype : kFormats) {
    for (const size_t columns : {128u, 640u, 1536u}) {
      const size_t outputs = 40;
      const test::StoredTensor t = test::random_tensor(rng, dtype, outputs, columns);
      ThreadPool pool(2);
      std::vector<PackedMatrix> parts;
      parts.push_back(std::move(PackedMatrix::pack(t.tensor, Activations::kInt16, pool)).value());
      const Linear w(std::move(parts), Activations::kInt16);
      Matrix x(rng, 300, columns);
      for (size_t k = 0; k < columns; k += 50) x.view().span(3)[k] *= 100;  // one step serves what sticks out too
      for (const Isa isa : supported_isas()) {
        for (const size_t rows : {1u, 7u, 16u, 64u, 127u, 128u, 129u, 300u}) {
          if (isa == Isa::kScalar && rows > 16) continue;
          OpFixture f(2, isa);
          Matrix out(rows, outputs);
          w.project(f.context, x.view(0, rows), out.view());
          for (size_t r = 0; r < rows; r += r < 4 ? 1 : 41) {
            const RoundedActivations rounded = round_activations(x.row(r));
            for (size_t n = 0; n < outputs; ++n) {
              const float unit = to_float(row_scale(t.bytes.data() + n * *row_bytes(dtype, columns)));
              const float expected = static_cast<float>(factored_product(t, n, rounded)) * unit * rounded.step;
              ASSERT_EQ(out.row(r)[n], expected) << info(dtype).name << " " << to_string(isa) << " row " << r;
            }
          }
        }
      }
    }
  }
}

// The largest sums that there can be.
TEST(RowScaledLinear, ExtremesStayWithinTheirSums) {
  const size_t columns = 8192;
  for (const DType dtype : {DType::kW4G128, DType::kW8Row}) {
    test::StoredTensor t;
    const std::vector<CodeGroup> groups(columns / 128, {16, 8});
    const std::vector<uint8_t> codes(columns, dtype == DType::kW8Row ? 255 : 0);
    t.bytes.resize(*row_bytes(dtype, columns));
    write_row(dtype, to_half(1.0F), groups, codes, t.bytes.data());
    t.tensor = {.name = "extreme", .dtype = dtype, .shape = {1, columns}, .data = t.bytes};
    ThreadPool pool(1);
    std::vector<PackedMatrix> parts;
    parts.push_back(std::move(PackedMatrix::pack(t.tensor, Activations::kInt16, pool)).value());
    const Linear w(std::move(parts), Activations::kInt16);
    Matrix x(12, columns), out(12, 1);
    for (size_t r = 0; r < 12; ++r) std::ranges::fill(x.view().span(r), 127.0F);
    const double each = dtype == DType::kW8Row ? 127 : -128;
    for (const Isa isa : supported_isas()) {
      OpFixture f(1, isa);
      w.project(f.context, x.view(), out.view());
      for (size_t r = 0; r < 12; ++r)
        EXPECT_EQ(out.row(r)[0], static_cast<float>(each * 127 * columns)) << to_string(isa);
    }
  }
}

TEST(RowScaledLinear, RowsBeyondTheirRangesAreRefusedByName) {
  test::Rng rng(72);
  test::StoredTensor t = test::random_tensor(rng, DType::kW4G128, 20, 256);
  t.bytes[17 * *row_bytes(DType::kW4G128, 256) + 2] = std::byte{200};
  ThreadPool pool(1);
  const auto packed = PackedMatrix::pack(t.tensor, Activations::kInt16, pool);
  ASSERT_FALSE(packed.ok());
  EXPECT_EQ(packed.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(packed.error().message.find("'random'"), std::string::npos);
}

}  // namespace
}  // namespace loci
