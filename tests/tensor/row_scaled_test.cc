#include "tensor/row_scaled.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace loci {
namespace {

constexpr DType kFormats[] = {DType::kW4Row, DType::kW4G32, DType::kW4G64, DType::kW4G128, DType::kW8Row};

// One group of a row: the integers that level 0 gave, rounded to 4 bits and back.
struct Rounded {
  int step;
  int zero;
};
Rounded round_ends(int low, int high) {
  low = std::min(low, 0);
  high = std::max(high, 0);
  const int step = std::max(1, static_cast<int>(std::nearbyint((high - low) / 15.0)));
  return {step, std::clamp(static_cast<int>(std::nearbyint(static_cast<double>(-low) / step)), 0, 15)};
}
int restore(int integer, const Rounded& by) {
  const int code =
      std::clamp(static_cast<int>(std::nearbyint(static_cast<double>(integer) / by.step)) + by.zero, 0, 15);
  return (code - by.zero) * by.step;
}

// Ends (low, high) of a group within `range` for which an end leaves 8 bits.
int overflows(int range) {
  int count = 0;
  for (int low = -range; low <= 0; ++low) {
    for (int high = 0; high <= range; ++high) {
      const Rounded by = round_ends(low, high);
      const int a = restore(low, by), b = restore(high, by);
      count += std::min(a, b) < INT8_MIN || std::max(a, b) > INT8_MAX;
    }
  }
  return count;
}

TEST(ProtectiveRange, IsTheWidestThatNeverLeavesEightBits) {
  EXPECT_EQ(overflows(kProtectiveRange), 0);
  EXPECT_EQ(overflows(kProtectiveRange + 1), 7);
  EXPECT_GT(overflows(127), 200);
  // The least example without it.
  const Rounded by = round_ends(-113, 120);
  EXPECT_EQ(restore(120, by), 128);
}

TEST(ProtectiveRange, StepsAndZerosFitTheirBytes) {
  int most_step = 0, most_product = 0;
  for (int low = -kProtectiveRange; low <= 0; ++low) {
    for (int high = 0; high <= kProtectiveRange; ++high) {
      const Rounded by = round_ends(low, high);
      most_step = std::max(most_step, by.step);
      most_product = std::max(most_product, by.zero * by.step);
    }
  }
  EXPECT_EQ(most_step, 16);
  EXPECT_EQ(most_product, 121);
}

// Four codes times a step in one 32-bit product, then a sum byte by byte that wraps: what vector kernels compute.
TEST(PackedMultiply, GivesTheIntegerWheneverItHasEightBits) {
  for (int step = 1; step <= kMostStep; ++step) {
    for (int zero = 0; zero <= 15; ++zero) {
      for (int code = 0; code <= 15; ++code) {
        const int integer = (code - zero) * step;
        if (integer < INT8_MIN || integer > INT8_MAX) continue;
        const uint32_t product = (0x01010101u * static_cast<uint32_t>(code)) * static_cast<uint32_t>(step);
        for (int byte = 0; byte < 4; ++byte) {
          const auto lane = static_cast<uint8_t>(product >> (8 * byte));
          EXPECT_EQ(static_cast<int8_t>(static_cast<uint8_t>(lane - zero * step)), integer) << step << " " << zero;
        }
      }
    }
  }
}

TEST(RowScaled, WhatIsWrittenIsReadBack) {
  std::mt19937 random(3);
  for (const DType dtype : kFormats) {
    const size_t columns = 2 * info(dtype).block_elements;
    std::vector<uint8_t> codes(columns);
    const bool bytes = dtype == DType::kW8Row;
    for (uint8_t& code : codes) code = static_cast<uint8_t>(bytes ? random() : random() % 16);
    std::vector<CodeGroup> groups(step_group(dtype) == 0 ? 1 : columns / step_group(dtype));
    for (CodeGroup& g : groups) g = {1, static_cast<uint8_t>(random() % 16)};
    if (step_group(dtype) > 0) groups.back() = {8, 7};
    std::vector<std::byte> row(*row_bytes(dtype, columns) + 1);  // at an odd address
    write_row(dtype, to_half(0.25F), groups, codes, row.data() + 1);
    EXPECT_TRUE(row_holds(dtype, row.data() + 1, columns));

    std::vector<uint8_t> read(columns);
    row_codes(dtype, row.data() + 1, read);
    EXPECT_EQ(read, codes) << info(dtype).name;
    std::vector<float> numbers(columns);
    dequantize_row(dtype, row.data() + 1, numbers);
    for (size_t k = 0; k < columns; ++k) {
      const CodeGroup g = bytes ? CodeGroup{1, 128} : groups[step_group(dtype) == 0 ? 0 : k / step_group(dtype)];
      ASSERT_EQ(numbers[k], 0.25F * static_cast<float>((codes[k] - g.zero) * g.step)) << info(dtype).name << " " << k;
    }
  }
}

// Rows from a file that somebody made up.
TEST(RowScaled, RowsBeyondTheirRangesAreSeen) {
  const std::vector<uint8_t> low(128, 0), high(128, 15);
  std::vector<std::byte> row(*row_bytes(DType::kW4G128, 128));
  const auto holds = [&](CodeGroup group, const std::vector<uint8_t>& codes) {
    write_row(DType::kW4G128, to_half(1.0F), {&group, 1}, codes, row.data());
    return row_holds(DType::kW4G128, row.data(), codes.size());
  };
  EXPECT_TRUE(holds({16, 7}, low));
  EXPECT_FALSE(holds({16, 7}, high));  // (15 - 7) * 16 = 128
  EXPECT_FALSE(holds({0, 0}, low));
  EXPECT_FALSE(holds({18, 0}, low));
  EXPECT_FALSE(holds({1, 16}, low));
  EXPECT_FALSE(holds({17, 8}, low));  // -8 * 17
  std::vector<std::byte> channel(*row_bytes(DType::kW4Row, 32));
  const CodeGroup beyond{1, 16};
  write_row(DType::kW4Row, to_half(1.0F), {&beyond, 1}, std::vector<uint8_t>(32), channel.data());
  EXPECT_FALSE(row_holds(DType::kW4Row, channel.data(), 32));
}

TEST(RowScaled, GroupsAreTheWidestThatDivideARow) {
  EXPECT_EQ(grouped_format(128, 1536), DType::kW4G128);
  EXPECT_EQ(grouped_format(128, 576), DType::kW4G64);
  EXPECT_EQ(grouped_format(64, 1536), DType::kW4G64);
  EXPECT_EQ(grouped_format(128, 160), DType::kW4G32);
  EXPECT_EQ(grouped_format(128, 172), std::nullopt);
}

}  // namespace
}  // namespace loci
