#include "base/quantity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace loci {
namespace {

TEST(FormatBytes, KeepsThreeDigitsAndTheRightUnit) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.00 KiB");
  EXPECT_EQ(format_bytes(14920672), "14.2 MiB");
  EXPECT_EQ(format_bytes(1024 * 1024 - 1), "1.00 MiB");  // not "1024 KiB"
  EXPECT_EQ(format_bytes(std::numeric_limits<uint64_t>::max()), "16.0 EiB");
}

TEST(FormatDuration, ReadsLikeAClockBeyondAMinute) {
  EXPECT_EQ(format_duration(0.4213), "0.42 s");
  EXPECT_EQ(format_duration(12.34), "12.3 s");
  EXPECT_EQ(format_duration(59.96), "1:00");
  EXPECT_EQ(format_duration(185), "3:05");
  EXPECT_EQ(format_duration(7800), "2:10:00");
  EXPECT_EQ(format_duration(-1), "--");
  EXPECT_EQ(format_duration(std::nan("")), "--");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "--");
  EXPECT_EQ(format_duration(1e300), "--");
}

TEST(FormatNumber, KeepsThreeDigits) {
  EXPECT_EQ(format_number(0.12345), "0.123");
  EXPECT_EQ(format_number(9.999), "10.0");
  EXPECT_EQ(format_number(99.96), "100");
  EXPECT_EQ(format_number(1234.6), "1235");
  EXPECT_EQ(format_number(-4.567), "-4.57");
  EXPECT_EQ(format_number(std::nan("")), "--");
}

TEST(ParseBytes, TakesTheUsualSpellings) {
  const uint64_t giga = uint64_t{1} << 30;
  for (const char* text : {"4G", "4g", "4GB", "4GiB", "4gib", "4294967296", "4194304K", "4096M"}) {
    ASSERT_TRUE(parse_bytes(text).ok()) << text;
    EXPECT_EQ(*parse_bytes(text), 4 * giga) << text;
  }
  EXPECT_EQ(*parse_bytes("1.5G"), giga + giga / 2);
  EXPECT_EQ(*parse_bytes("0"), 0u);
  EXPECT_EQ(*parse_bytes("17B"), 17u);
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", "G", "-1", "4X", "4 G", "1e9", "4GG", "..", "1.2.3M", "0x10", "inf", "nan", "8388608T", "4Gi B"}) {
    const Result<uint64_t> result = parse_bytes(text);
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(result.error().message.find(text), std::string::npos) << result.error().message;
  }
}

TEST(ParseBytes, NeverCrashesOnRandomText) {
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = random() % 8; n > 0; --n) text += "0123456789.kMgTiB -+eE\0\xff"[random() % 24];
    (void)parse_bytes(text).ok();
  }
}

}  // namespace
}  // namespace loci
