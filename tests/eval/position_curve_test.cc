#include "eval/position_curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loci {
namespace {

using testing::ElementsAre;

TEST(PositionCurve, PositionsAreThoseOfWhatIsScored) {
  EXPECT_THAT(scored_positions(5, 5, 0), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(scored_positions(7, 3, 0), ElementsAre(1, 2, 1, 2));
  EXPECT_THAT(scored_positions(9, 4, 2), ElementsAre(2, 3, 2, 3));  // the last window has one token
  EXPECT_THAT(scored_positions(0, 4, 0), ElementsAre());
}

TEST(PositionCurve, BucketsDouble) {
  std::vector<float> nll;
  std::vector<uint32_t> positions;
  for (uint32_t position = 1; position < 300; ++position) {
    positions.push_back(position);
    nll.push_back(position < 64 ? 1.0F : position < 128 ? 2.0F : position < 256 ? 3.0F : 4.0F);
  }
  const std::vector<PositionBucket> curve = position_curve(nll, positions);
  ASSERT_EQ(curve.size(), 4U);
  const std::vector<std::pair<uint32_t, uint32_t>> ranges{{1, 63}, {64, 127}, {128, 255}, {256, 511}};
  uint64_t tokens = 0;
  for (size_t i = 0; i < curve.size(); ++i) {
    EXPECT_EQ(std::pair(curve[i].first, curve[i].last), ranges[i]);
    EXPECT_EQ(curve[i].mean_nll, static_cast<double>(i + 1));
    tokens += curve[i].tokens;
  }
  EXPECT_EQ(tokens, 299U);
}

TEST(PositionCurve, EmptyBucketsAreLeftOut) {
  const std::vector<float> nll{5.0F, 7.0F};
  const std::vector<uint32_t> positions{1000, 1023};
  const std::vector<PositionBucket> curve = position_curve(nll, positions);
  ASSERT_EQ(curve.size(), 1U);
  EXPECT_EQ(curve[0].first, 512U);
  EXPECT_EQ(curve[0].mean_nll, 6.0);
}

}  // namespace
}  // namespace loci
