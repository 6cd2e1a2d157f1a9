#include "kernels/cpu/math/exp.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/cpu/math/exp_scalar.h"
#include "kernels/random_tensor.h"

namespace loci {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Exp, RelativeErrorIsBelowTwoTenMillionths) {
  double worst = 0;
  for (float x = -87.33F; x < 88.72F; x += 1.7e-4F) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::fabs(exp_scalar(x) - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_GT(worst, 1e-8) << "the sweep measured nothing";
}

TEST(Exp, EndsOfTheRange) {
  EXPECT_EQ(exp_scalar(0.0F), 1.0F);
  EXPECT_EQ(exp_scalar(-0.0F), 1.0F);
  EXPECT_EQ(exp_scalar(-kInfinity), 0.0F);
  EXPECT_EQ(exp_scalar(kInfinity), kInfinity);
  EXPECT_EQ(exp_scalar(-87.5F), 0.0F);
  EXPECT_EQ(exp_scalar(-1e30F), 0.0F);
  EXPECT_EQ(exp_scalar(89.0F), kInfinity);
  EXPECT_TRUE(std::isnan(exp_scalar(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Exp, EveryInstructionSetGivesTheSameBits) {
  test::Rng rng(11);
  std::vector<float> x = {0.0F, -0.0F, kInfinity, -kInfinity, 88.722832F, 88.72284F, -87.33654F, -87.33655F, 1e-30F};
  while (x.size() < 100003) x.push_back(std::bit_cast<float>(static_cast<uint32_t>(rng())));
  for (float& v : x) v = std::isnan(v) ? -1.0F : v;
  for (int i = 0; i < 50000; ++i) x.push_back(60 * test::normal(rng));
  std::vector<float> expected(x.size());
  exp_row(Isa::kScalar)(x.data(), x.size(), expected.data());
  for (Isa isa : supported_isas()) {
    std::vector<float> out(x.size());
    exp_row(isa)(x.data(), x.size(), out.data());
    EXPECT_TRUE(test::same_bits(out, expected)) << to_string(isa);
  }
}

TEST(Exp, NothingIsWrittenBeyondTheEnd) {
  for (Isa isa : supported_isas()) {
    for (size_t count = 0; count < 40; ++count) {
      std::vector<float> x(count, -1.0F), out(count + 1, 7.0F);
      exp_row(isa)(x.data(), count, out.data());
      EXPECT_EQ(out[count], 7.0F);
    }
  }
}

TEST(Exp, NanStaysNan) {
  const std::vector<float> x(16, std::numeric_limits<float>::quiet_NaN());
  for (Isa isa : supported_isas()) {
    std::vector<float> out(16);
    exp_row(isa)(x.data(), x.size(), out.data());
    for (float v : out) EXPECT_TRUE(std::isnan(v)) << to_string(isa);
  }
}

}  // namespace
}  // namespace loci
