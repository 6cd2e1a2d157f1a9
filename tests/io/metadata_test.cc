#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/model_file.h"

namespace loci {
namespace {

using testing::HasSubstr;

Metadata sample() {
  Metadata m;
  m.set("unsigned", uint64_t{7});
  m.set("signed", int64_t{8});
  m.set("negative", int64_t{-1});
  m.set("wide", uint64_t{1} << 32);
  m.set("fraction", 0.5);
  m.set("flag", true);
  m.set("text", std::string("words"));
  return m;
}

TEST(Metadata, GivesValuesOfTheTypeAskedFor) {
  const Metadata m = sample();
  EXPECT_EQ(*m.u32("unsigned"), 7u);
  EXPECT_EQ(*m.u32("signed"), 8u);
  EXPECT_EQ(*m.number("fraction"), 0.5);
  EXPECT_EQ(*m.number("negative"), -1.0);
  EXPECT_EQ(*m.number("wide"), 4294967296.0);
  EXPECT_EQ(*m.text("text"), "words");
  EXPECT_EQ(*m.flag_or("flag", false), true);
  EXPECT_EQ(*m.u32_or("unsigned", 1), 7u);
  EXPECT_EQ(*m.text_or("text", "absent"), "words");
  EXPECT_EQ(*m.number_or("fraction", 1.0), 0.5);
}

TEST(Metadata, AbsentKeysAreNamedOrDefaulted) {
  const Metadata m = sample();
  EXPECT_EQ(m.u32("absent").error().code, ErrorCode::kNotFound);
  EXPECT_THAT(m.number("absent").error().message, HasSubstr("'absent'"));
  EXPECT_EQ(m.text("absent").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(*m.u32_or("absent", 3), 3u);
  EXPECT_EQ(*m.number_or("absent", 2.5), 2.5);
  EXPECT_EQ(*m.flag_or("absent", true), true);
  EXPECT_EQ(*m.text_or("absent", "default"), "default");
}

TEST(Metadata, OtherTypesAreErrorsEvenWithADefault) {
  const Metadata m = sample();
  EXPECT_EQ(m.u32("text").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(m.u32("fraction").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(m.u32_or("flag", 1).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(m.number_or("text", 1).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(m.flag_or("unsigned", true).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(m.text_or("flag", "").error().code, ErrorCode::kCorrupt);
}

TEST(Metadata, IntegersOutsideTheirRangeNameTheLimit) {
  const Metadata m = sample();
  EXPECT_THAT(m.u32("wide").error().message, HasSubstr("4294967296, above the limit of 4294967295"));
  EXPECT_THAT(m.u32("negative").error().message, HasSubstr("-1, outside 0 to 4294967295"));
}

}  // namespace
}  // namespace loci
