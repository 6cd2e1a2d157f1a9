#include "kernels/cpu/quantize/activations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/random_tensor.h"

namespace loci {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

std::vector<std::byte> rounded(Isa isa, std::span<const float> x) {
  std::vector<std::byte> out(rounded_row_bytes(x.size()));
  round_row(isa)(x.data(), x.size(), {out.data(), 1, 0});
  return out;
}

TEST(RoundRow, EveryNumberIsWithinHalfAStep) {
  test::Rng rng(1);
  const std::vector<float> x = test::normals(rng, 320, 3.0F);
  const std::vector<std::byte> out = rounded(Isa::kScalar, x);
  for (size_t i = 0; i < x.size(); ++i) {
    const std::byte* block = out.data() + i / 32 * ActivationBlock::kRowBytes;
    const auto scale = load<float>(block + ActivationBlock::scale(1));
    const float value = scale * load<int8_t>(block + i % 32);
    EXPECT_LE(std::fabs(value - x[i]), 0.5001F * scale);
  }
}

TEST(RoundRow, SumsBelongToTheCodes) {
  test::Rng rng(2);
  const std::vector<float> x = test::normals(rng, 64);
  const std::vector<std::byte> out = rounded(Isa::kScalar, x);
  for (size_t b = 0; b < 2; ++b) {
    const std::byte* block = out.data() + b * ActivationBlock::kRowBytes;
    int sums[2] = {0, 0};
    for (int i = 0; i < 32; ++i) sums[i / 16] += load<int8_t>(block + i);
    EXPECT_EQ(load<int32_t>(block + ActivationBlock::bias(1)), -128 * (sums[0] + sums[1]));
    EXPECT_EQ(load<int32_t>(block + ActivationBlock::low_bias(1)), -128 * sums[0]);
    const auto scale = load<float>(block + ActivationBlock::scale(1));
    EXPECT_EQ(load<float>(block + ActivationBlock::scale_sum(1)), scale * static_cast<float>(sums[0] + sums[1]));
  }
}

TEST(RoundRow, EveryInstructionSetGivesTheSameBytes) {
  test::Rng rng(3);
  std::vector<float> x = test::normals(rng, 32 * 40);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= std::ldexp(1.0F, static_cast<int>(i / 32) * 6 - 120);
  for (size_t i = 0; i < 32; ++i) x[i] = 0;                                   // a block of zeros
  for (size_t i = 32; i < 64; ++i) x[i] = static_cast<float>(i) - 48 + 0.5F;  // ties
  const std::vector<std::byte> expected = rounded(Isa::kScalar, x);
  for (Isa isa : supported_isas()) EXPECT_EQ(rounded(isa, x), expected) << to_string(isa);
}

TEST(RoundRow, AGroupInterleavesWhatSingleRowsHold) {
  test::Rng rng(4);
  const size_t columns = 96;
  for (Isa isa : supported_isas()) {
    for (uint32_t rows : {2u, 4u, 12u}) {
      std::vector<std::byte> group(rows * rounded_row_bytes(columns));
      std::vector<std::vector<std::byte>> alone;
      for (uint32_t r = 0; r < rows; ++r) {
        const std::vector<float> x = test::normals(rng, columns);
        round_row(isa)(x.data(), columns, {group.data(), rows, r});
        alone.push_back(rounded(isa, x));
      }
      for (uint32_t r = 0; r < rows; ++r) {
        for (size_t b = 0; b < columns / 32; ++b) {
          const std::byte* block = group.data() + b * ActivationBlock::kRowBytes * rows;
          const std::byte* one = alone[r].data() + b * ActivationBlock::kRowBytes;
          EXPECT_EQ(std::memcmp(block + 32 * r, one, 32), 0);
          EXPECT_EQ(std::memcmp(block + ActivationBlock::scale(rows) + 4 * r, one + ActivationBlock::scale(1), 4), 0);
          EXPECT_EQ(std::memcmp(block + ActivationBlock::low_bias(rows) + 4 * r, one + ActivationBlock::low_bias(1), 4),
                    0);
        }
      }
    }
  }
}

TEST(RoundRow, NotFiniteNumbersBecomeANanScale) {
  for (Isa isa : supported_isas()) {
    for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> x(64, 1.0F);
      x[40] = bad;
      const std::vector<std::byte> out = rounded(isa, x);
      EXPECT_EQ(load<float>(out.data() + ActivationBlock::scale(1)), 1.0F / 127);
      const std::byte* block = out.data() + ActivationBlock::kRowBytes;
      EXPECT_TRUE(std::isnan(load<float>(block + ActivationBlock::scale(1)))) << to_string(isa);
      EXPECT_EQ(load<int8_t>(block), 0);
    }
  }
}

TEST(GroupRows, GroupsCoverEveryCount) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    for (uint32_t rows = 1; rows <= 200; ++rows) {
      uint32_t left = rows;
      while (left > 0) {
        const uint32_t group = group_rows(isa, left);
        ASSERT_GE(group, 1u);
        ASSERT_LE(group, left);
        left -= group;
      }
    }
  }
}

}  // namespace
}  // namespace loci
