#include "base/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace loci {
namespace {

uint32_t bits_of(float f) { return std::bit_cast<uint32_t>(f); }

// The value of a binary16 number from its definition, in exact double arithmetic.
double half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 0x1f) return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

// Round to nearest even by search: the half whose value is nearest, the one with an even fraction on a tie.
uint16_t nearest_half(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  uint32_t low = 0;
  uint32_t high = 0x7c00;  // values grow with the bits
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (half_value(static_cast<uint16_t>(middle)) <= magnitude ? low : high) = middle;
  }
  const double below = half_value(static_cast<uint16_t>(low));
  const double above = high == 0x7c00 ? 65536.0 : half_value(static_cast<uint16_t>(high));
  if (magnitude - below > above - magnitude) low = high;
  if (magnitude - below == above - magnitude && (low & 1) != 0) low = high;
  return static_cast<uint16_t>(sign | low);
}

TEST(Half, EveryBitPatternHasItsExactValue) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float f = to_float(Half{static_cast<uint16_t>(bits)});
    const double expected = half_value(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(f)) << bits;
    } else {
      EXPECT_EQ(static_cast<double>(f), expected) << bits;
      EXPECT_EQ(std::signbit(f), (bits & 0x8000) != 0) << bits;
    }
  }
}

TEST(Half, EveryBitPatternComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Half back = to_half(to_float(Half{static_cast<uint16_t>(bits)}));
    if (std::isnan(half_value(static_cast<uint16_t>(bits)))) {
      EXPECT_TRUE(std::isnan(half_value(back.bits))) << bits;
    } else {
      EXPECT_EQ(back.bits, bits);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  std::mt19937 random(11);
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const double here = half_value(static_cast<uint16_t>(bits));
    const double next = bits == 0x7bff ? 65536.0 : half_value(static_cast<uint16_t>(bits + 1));
    const float middle = static_cast<float>((here + next) / 2);  // exact: one more bit than a half has
    for (const float f : {std::nextafter(middle, 0.0F), middle, std::nextafter(middle, 1e9F)}) {
      ASSERT_EQ(to_half(f).bits, nearest_half(f)) << f;
      ASSERT_EQ(to_half(-f).bits, nearest_half(-f)) << -f;
    }
  }
  for (int i = 0; i < 100000; ++i) {
    const float f = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (std::isnan(f)) continue;
    ASSERT_EQ(to_half(f).bits, nearest_half(f)) << f;
  }
}

TEST(Half, TooLargeIsInfinite) {
  EXPECT_EQ(to_half(65519.996F).bits, 0x7bff);
  EXPECT_EQ(to_half(65520.0F).bits, 0x7c00);
  EXPECT_EQ(to_half(-std::numeric_limits<float>::infinity()).bits, 0xfc00);
  EXPECT_TRUE(std::isnan(to_float(to_half(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(BFloat16, EveryBitPatternIsTheUpperHalfOfAFloatAndComesBack) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float f = to_float(BFloat16{static_cast<uint16_t>(bits)});
    EXPECT_EQ(bits_of(f), bits << 16);
    if (!std::isnan(f)) {
      EXPECT_EQ(to_bfloat16(f).bits, bits);
    }
  }
}

TEST(BFloat16, RoundsToNearestEven) {
  for (uint32_t high = 0; high < 0x7f80; ++high) {
    const uint32_t tie = (high << 16) | 0x8000u;
    const auto rounded = [](uint32_t b) { return uint32_t{to_bfloat16(std::bit_cast<float>(b)).bits}; };
    ASSERT_EQ(rounded(tie - 1), high);
    ASSERT_EQ(rounded(tie), high + (high & 1));
    ASSERT_EQ(rounded(tie + 1), high + 1);
  }
}

TEST(BFloat16, NanStaysNan) {
  // The payload's low bits alone must not turn into an infinity.
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(0xffffffffu)))));
}

}  // namespace
}  // namespace loci
