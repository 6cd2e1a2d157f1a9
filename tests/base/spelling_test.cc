#include "base/spelling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loci {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Spelling, CountsEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ab", "ba"), 2u);
  EXPECT_EQ(edit_distance("SnapKV", "snapkv"), 0u);
}

TEST(Spelling, FindsTheNearestWords) {
  const std::vector<std::string> known = {"retain", "store", "select", "mix", "kv8", "kv4"};
  EXPECT_THAT(nearest_words("retian", known), ElementsAre("retain"));
  EXPECT_THAT(nearest_words("sele", known), ElementsAre("select"));
  EXPECT_THAT(nearest_words("kv5", known), ElementsAre("kv8", "kv4"));
  EXPECT_THAT(nearest_words("zzz", known), IsEmpty());
  EXPECT_THAT(nearest_words(std::string(1000, 'a'), known), IsEmpty());
  EXPECT_EQ(did_you_mean("kv5", known), "; did you mean 'kv8' or 'kv4'?");
  EXPECT_EQ(did_you_mean("zzz", known), "");
}

}  // namespace
}  // namespace loci
