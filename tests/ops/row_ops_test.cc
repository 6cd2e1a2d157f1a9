// Norm, rope, elementwise and embedding operations: shapes, strides, threads, and the values of a few known cases. The
// kernels under them are tested in tests/kernels.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/elementwise.h"
#include "ops/embedding.h"
#include "ops/kernel_table.h"
#include "ops/norm.h"
#include "ops/op_fixture.h"
#include "ops/rope.h"
#include "ops/turn.h"

namespace loci {
namespace {

using test::Matrix;
using test::OpFixture;

constexpr size_t kShapes[][2] = {{1, 1}, {1, 576}, {3, 17}, {300, 576}, {40, 1536}};

TEST(RmsNorm, ManyRowsEqualOneRowWithAnyThreads) {
  test::Rng rng(71);
  for (const auto& [rows, width] : kShapes) {
    Matrix x(rng, rows, width, 5);
    const std::vector<float> w = test::normals(rng, width);
    for (Isa isa : supported_isas()) {
      OpFixture one(1, isa), three(3, isa);
      Matrix out(rows, width, 1);
      rms_norm(three.context, x.view(), w, 1e-5F, out.view());
      EXPECT_TRUE(out.gaps_intact());
      Matrix alone(1, width);
      for (size_t r = 0; r < rows; ++r) {
        rms_norm(one.context, x.view(r, 1), w, 1e-5F, alone.view());
        ASSERT_TRUE(test::same_bits(out.row(r), alone.row(0)));
      }
    }
  }
}

TEST(RmsNorm, NormalisesInPlace) {
  OpFixture f(1, best_isa());
  Matrix x(1, 4);
  std::copy_n(std::vector<float>{1, 2, 3, 4}.begin(), 4, x.view().data);
  const std::vector<float> w = {1, 1, 2, 0};
  rms_norm(f.context, x.view(), w, 0, x.view());
  const float root = std::sqrt(7.5F);
  EXPECT_FLOAT_EQ(x.row(0)[0], 1 / root);
  EXPECT_FLOAT_EQ(x.row(0)[2], 6 / root);
  EXPECT_EQ(x.row(0)[3], 0.0F);
}

TEST(InputTurn, ManyRowsEqualOneRowWithAnyThreads) {
  test::Rng rng(72);
  for (const uint32_t width : {8u, 576u, 1536u}) {
    const InputTurn turn = *InputTurn::of_width(width);
    for (Isa isa : supported_isas()) {
      OpFixture one(1, isa), three(3, isa);
      const Matrix x(rng, 70, width, 5);
      Matrix out = x, alone = x;
      turn(three.context, out.view());
      EXPECT_TRUE(out.gaps_intact());
      for (size_t r = 0; r < 70; ++r) {
        turn(one.context, alone.view(r, 1));
        ASSERT_TRUE(test::same_bits(out.row(r), alone.row(r)));
      }
    }
  }
}

TEST(InputTurn, FactorsOfTheSizesThatModelsHave) {
  EXPECT_EQ(odd_factor(576), 9u);
  EXPECT_EQ(odd_factor(640), 5u);
  EXPECT_EQ(odd_factor(1536), 3u);
  EXPECT_EQ(odd_factor(2048), 1u);
  const auto refused = InputTurn::of_width(67 * 32);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("2144 columns"), std::string::npos) << refused.error().message;
}

TEST(RopeAngles, AreReducedInDouble) {
  OpFixture f(2, best_isa());
  const std::vector<double> inverse = {1.0, 0.7, 1e-4};
  const std::vector<int32_t> positions = {0, 1, 131071};
  Matrix table(3, 6);
  rope_angles(f.context, positions, inverse, 1.25, table.view());
  for (size_t t = 0; t < 3; ++t) {
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(table.row(t)[i], static_cast<float>(std::cos(positions[t] * inverse[i]) * 1.25));
      EXPECT_EQ(table.row(t)[3 + i], static_cast<float>(std::sin(positions[t] * inverse[i]) * 1.25));
    }
  }
}

TEST(Rotate, TurnsTheFirstDimensionsOfEveryHead) {
  test::Rng rng(72);
  const std::vector<double> inverse = {1.0, 0.1, 0.01};
  const std::vector<int32_t> positions = {5, 9};
  for (RopePairing pairing : {RopePairing::kAdjacent, RopePairing::kHalves}) {
    OpFixture f(2, best_isa());
    Matrix table(2, 6);
    rope_angles(f.context, positions, inverse, 1, table.view());
    Matrix x(rng, 2, 3 * 8, 2);
    const Matrix before = x;
    rotate(f.context, x.view(), 3, 8, pairing, table.view());
    EXPECT_TRUE(x.gaps_intact());
    for (size_t t = 0; t < 2; ++t) {
      for (size_t h = 0; h < 3; ++h) {
        for (size_t i = 0; i < 3; ++i) {
          const size_t a = 8 * h + (pairing == RopePairing::kAdjacent ? 2 * i : i);
          const size_t b = pairing == RopePairing::kAdjacent ? a + 1 : a + 3;
          const double c = std::cos(positions[t] * inverse[i]), s = std::sin(positions[t] * inverse[i]);
          EXPECT_NEAR(x.row(t)[a], before.row(t)[a] * c - before.row(t)[b] * s, 1e-5);
          EXPECT_NEAR(x.row(t)[b], before.row(t)[a] * s + before.row(t)[b] * c, 1e-5);
        }
        EXPECT_EQ(x.row(t)[8 * h + 6], before.row(t)[8 * h + 6]);
        EXPECT_EQ(x.row(t)[8 * h + 7], before.row(t)[8 * h + 7]);
      }
    }
  }
}

TEST(Elementwise, EveryNumberOfEveryRow) {
  test::Rng rng(73);
  for (const auto& [rows, width] : kShapes) {
    OpFixture f(2, best_isa());
    Matrix x(rng, rows, width, 4), y(rng, rows, width);
    const std::vector<float> bias = test::normals(rng, width);
    Matrix sum = x, product = x, biased = x, silu(rows, width, 2), gelu(rows, width);
    add(f.context, sum.view(), y.view());
    scale(f.context, product.view(), 1.5F);
    add_bias(f.context, biased.view(), bias);
    silu_mul(f.context, x.view(), y.view(), silu.view());
    gelu_tanh_mul(f.context, x.view(), y.view(), gelu.view());
    for (size_t r = 0; r < rows; ++r) {
      for (size_t i = 0; i < width; ++i) {
        const float a = x.row(r)[i], b = y.row(r)[i];
        ASSERT_EQ(sum.row(r)[i], a + b);
        ASSERT_EQ(product.row(r)[i], a * 1.5F);
        ASSERT_EQ(biased.row(r)[i], a + bias[i]);
        ASSERT_NEAR(silu.row(r)[i], a / (1 + std::exp(-a)) * b, 1e-5);
        const double u = 0.7978845608028654 * (a + 0.044715 * double{a} * a * a);
        ASSERT_NEAR(gelu.row(r)[i], 0.5 * a * (1 + std::tanh(u)) * b, 1e-5);
      }
    }
    EXPECT_TRUE(sum.gaps_intact() && product.gaps_intact() && biased.gaps_intact() && silu.gaps_intact());
  }
}

TEST(Embed, PackedAndStoredTablesGiveTheRows) {
  test::Rng rng(74);
  const test::StoredTensor t = test::random_tensor(rng, DType::kQ8_0, 50, 96);
  OpFixture f(2, best_isa());
  const PackedMatrix table = std::move(PackedMatrix::pack(t.tensor, Activations::kInt8, f.pool)).value();
  std::vector<TokenId> ids;
  for (int i = 0; i < 400; ++i) ids.push_back((i * 37) % 50);
  Matrix packed(ids.size(), 96, 3), stored(ids.size(), 96);
  embed(f.context, table, ids, packed.view());
  embed(f.context, t.tensor, ids, stored.view());
  EXPECT_TRUE(packed.gaps_intact());
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::vector<float> expected = t.row(static_cast<size_t>(ids[i]));
    ASSERT_TRUE(test::same_bits(packed.row(i), expected));
    ASSERT_TRUE(test::same_bits(stored.row(i), expected));
  }
}

TEST(KernelTable, NamesEveryLayoutOnce) {
  for (Isa isa : supported_isas()) {
    int linears = 0;
    for (const KernelEntry& entry : kernel_table(isa)) {
      EXPECT_LE(entry.isa, isa);
      linears += entry.operation == "linear";
    }
    EXPECT_EQ(linears, static_cast<int>(all_layouts().size()));
  }
}

}  // namespace
}  // namespace loci
