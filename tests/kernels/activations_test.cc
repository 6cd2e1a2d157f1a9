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

constexpr Precision kPlain{std::numeric_limits<float>::infinity()};
constexpr Precision kFine{0.01F};

std::vector<std::byte> rounded(Isa isa, std::span<const float> x, Precision precision = kPlain) {
  std::vector<std::byte> out(rounded_row_bytes(x.size()));
  round_row(isa)(x.data(), x.size(), precision, {out.data(), 1, 0});
  return out;
}

// Of a row that is alone in its group: the number at column i, the block it lies in, and what it is a multiple of.
const std::byte* block_of(const std::vector<std::byte>& row, size_t i) {
  return row.data() + i / 32 * ActivationBlock::kRowBytes;
}
int code(const std::vector<std::byte>& row, size_t i) {
  const std::byte* block = block_of(row, i);
  return load<int8_t>(block + i % 32) + 256 * load<int8_t>(block + ActivationBlock::high(1) + i % 32);
}
float scale(const std::vector<std::byte>& row, size_t i) {
  return load<float>(block_of(row, i) + ActivationBlock::scale(1));
}
uint32_t flags(const std::vector<std::byte>& row, size_t i) {
  return load<uint32_t>(block_of(row, i) + ActivationBlock::flags(1));
}
float row_step(const std::vector<std::byte>& row) { return load<float>(row.data() + row.size() - sizeof(float)); }
float step(const std::vector<std::byte>& row, size_t i) { return scale(row, i) * row_step(row); }

TEST(RoundRow, EveryNumberIsWithinHalfAStep) {
  test::Rng rng(1);
  std::vector<float> x = test::normals(rng, 320, 3.0F);
  x[100] = 1e4F;
  for (const Precision precision : {kPlain, kFine}) {
    const std::vector<std::byte> out = rounded(Isa::kScalar, x, precision);
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_LE(std::fabs(step(out, i) * static_cast<float>(code(out, i)) - x[i]), 0.5001F * step(out, i)) << i;
    }
  }
}

TEST(RoundRow, PlainPrecisionHasNoHighParts) {
  test::Rng rng(5);
  std::vector<float> x = test::normals(rng, 320);
  x[100] = 1e6F;
  const std::vector<std::byte> out = rounded(Isa::kScalar, x);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_LE(std::abs(code(out, i)), 127);
    EXPECT_EQ(flags(out, i), ActivationBlock::kScaled);
  }
  EXPECT_EQ(step(out, 100), 1e6F / 127);
}

TEST(RoundRow, TheStepIsAShareOfTheMeanAndOnlyWhatSticksOutIsWide) {
  test::Rng rng(6);
  std::vector<float> x = test::normals(rng, 320);
  x[70] = 900;
  const std::vector<std::byte> out = rounded(Isa::kScalar, x, Precision{0.05F});
  double mean = 0;
  for (float v : x) mean += std::fabs(v) / 320;
  EXPECT_NEAR(row_step(out), 0.05 * mean, 1e-5 * mean);
  for (size_t i = 0; i < 320; ++i) {
    EXPECT_EQ(scale(out, i), 1.0F);
    EXPECT_EQ(flags(out, i), i / 32 == 2 ? 1u << 1 : 0u) << i;
    if (i / 4 != 17) {
      EXPECT_LE(std::abs(code(out, i)), 127) << i;
    }
  }
  EXPECT_NEAR(step(out, 70) * static_cast<float>(code(out, 70)), 900, 0.51 * 0.05 * mean);
}

// Sixteen bits reach 256 times as far as eight: beyond that a block takes twice, four times, ... the step.
TEST(RoundRow, TheLargestNumberAlwaysFits) {
  for (Isa isa : supported_isas()) {
    for (float sign : {1.0F, -1.0F}) {
      std::vector<float> x(64, 1.0F);
      x[9] = sign * 1e9F;
      for (const float precision : {1e-30F, 1e-8F, 1e-6F}) {
        const std::vector<std::byte> out = rounded(isa, x, Precision{precision});
        EXPECT_LE(std::abs(code(out, 9)), 32512);
        EXPECT_GT(std::abs(code(out, 9)), 16255);
        EXPECT_NEAR(step(out, 9) * static_cast<float>(code(out, 9)), x[9], 0.51 * step(out, 9));
        EXPECT_EQ(code(out, 8), 0);
        EXPECT_NE(flags(out, 9) & ActivationBlock::kScaled, 0u);
        int exponent;
        EXPECT_EQ(std::frexp(scale(out, 9), &exponent), 0.5F) << "a power of two";
      }
      EXPECT_EQ(flags(rounded(isa, x, Precision{1e-3F}), 40), 0u);
    }
  }
}

TEST(RoundRow, SumsBelongToTheCodes) {
  test::Rng rng(2);
  const std::vector<float> x = test::normals(rng, 64);
  for (const Precision precision : {kPlain, Precision{1e-3F}}) {
    const std::vector<std::byte> out = rounded(Isa::kScalar, x, precision);
    for (size_t b = 0; b < 2; ++b) {
      const std::byte* block = out.data() + b * ActivationBlock::kRowBytes;
      int sums[2] = {0, 0};
      for (size_t i = 0; i < 32; ++i) sums[i / 16] += code(out, 32 * b + i);
      EXPECT_EQ(load<int32_t>(block + ActivationBlock::bias(1)), -128 * (sums[0] + sums[1]));
      EXPECT_EQ(load<int32_t>(block + ActivationBlock::low_bias(1)), -128 * sums[0]);
      const float sum = scale(out, 32 * b) * static_cast<float>(sums[0] + sums[1]);
      EXPECT_EQ(load<float>(block + ActivationBlock::scale_sum(1)), sum);
    }
  }
}

TEST(RoundRow, EveryInstructionSetGivesTheSameBytes) {
  test::Rng rng(3);
  std::vector<float> x = test::normals(rng, 32 * 40);
  std::vector<float> similar = x;
  for (size_t i = 0; i < x.size(); ++i) x[i] *= std::ldexp(1.0F, static_cast<int>(i / 32) * 6 - 120);
  for (size_t i = 0; i < 32; ++i) x[i] = 0;                                   // a block of zeros
  for (size_t i = 32; i < 64; ++i) x[i] = static_cast<float>(i) - 48 + 0.5F;  // ties
  for (size_t i = 0; i < similar.size(); i += 11) similar[i] *= 40;
  std::vector<float> huge(64, 3e38F);  // the sum overflows
  for (const std::vector<float>& row : {x, similar, huge, std::vector<float>(64, 0.0F)}) {
    for (const Precision precision : {kPlain, kFine, Precision{1e-3F}}) {
      const std::vector<std::byte> expected = rounded(Isa::kScalar, row, precision);
      for (Isa isa : supported_isas()) EXPECT_EQ(rounded(isa, row, precision), expected) << to_string(isa);
    }
  }
}

TEST(RoundRow, AGroupInterleavesWhatSingleRowsHold) {
  test::Rng rng(4);
  const size_t columns = 96;
  for (Isa isa : supported_isas()) {
    for (uint32_t rows : {2u, 3u, 4u}) {
      std::vector<std::byte> group(rows * rounded_row_bytes(columns));
      std::vector<std::vector<std::byte>> alone;
      for (uint32_t r = 0; r < rows; ++r) {
        const std::vector<float> x = test::normals(rng, columns);
        round_row(isa)(x.data(), columns, kFine, {group.data(), rows, r});
        alone.push_back(rounded(isa, x, kFine));
      }
      for (uint32_t r = 0; r < rows; ++r) {
        EXPECT_EQ(load<float>(group.data() + steps_offset(columns, rows) + 4 * r), row_step(alone[r]));
        for (size_t b = 0; b < columns / 32; ++b) {
          const std::byte* block = group.data() + b * ActivationBlock::kRowBytes * rows;
          const std::byte* one = alone[r].data() + b * ActivationBlock::kRowBytes;
          EXPECT_EQ(std::memcmp(block + 32 * r, one, 32), 0);
          EXPECT_EQ(std::memcmp(block + ActivationBlock::high(rows) + 32 * r, one + ActivationBlock::high(1), 32), 0);
          EXPECT_EQ(std::memcmp(block + ActivationBlock::flags(rows) + 4 * r, one + ActivationBlock::flags(1), 4), 0);
          EXPECT_EQ(std::memcmp(block + ActivationBlock::scale(rows) + 4 * r, one + ActivationBlock::scale(1), 4), 0);
          EXPECT_EQ(std::memcmp(block + ActivationBlock::low_bias(rows) + 4 * r, one + ActivationBlock::low_bias(1), 4),
                    0);
        }
      }
    }
  }
}

TEST(RoundRow, ARowThatIsNotFiniteHasANanStep) {
  for (Isa isa : supported_isas()) {
    for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> x(64, 1.0F);
      x[40] = bad;
      for (const Precision precision : {kPlain, kFine}) {
        const std::vector<std::byte> out = rounded(isa, x, precision);
        EXPECT_TRUE(std::isnan(row_step(out))) << to_string(isa);
        for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(code(out, i), 0);
      }
    }
  }
}

TEST(RoundRow, FiniteNumbersOfEverySizeStayFinite) {
  for (Isa isa : supported_isas()) {
    for (float size : {3e38F, 1e30F, 1e-20F, 1e-29F}) {
      const std::vector<float> x(64, size);
      for (const Precision precision : {kPlain, kFine}) {
        const std::vector<std::byte> out = rounded(isa, x, precision);
        EXPECT_NEAR(step(out, 40) * static_cast<float>(code(out, 40)) / size, 1, 0.01) << size;
      }
    }
    EXPECT_EQ(row_step(rounded(isa, std::vector<float>(64, 1e-32F), kFine)), 0.0F);
  }
}

TEST(GroupRows, GroupsCoverEveryCount) {
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    for (uint32_t rows = 1; rows <= 400; ++rows) {
      const bool integer = rows % 2 == 0;
      uint32_t left = rows / 2 + 1;
      while (left > 0) {
        const uint32_t group = group_rows(isa, integer, left);
        ASSERT_GE(group, 1u);
        ASSERT_LE(group, left);
        left -= group;
      }
    }
  }
}

}  // namespace
}  // namespace loci
