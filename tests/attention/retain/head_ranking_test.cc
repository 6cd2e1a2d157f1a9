#include "attention/retain/head_ranking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace loci {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelShape model(std::vector<uint32_t> windows, uint32_t query_heads, uint32_t kv_heads) {
  ModelShape out;
  out.layers = static_cast<uint32_t>(windows.size());
  out.query_heads = query_heads;
  out.kv_heads = kv_heads;
  out.windows = std::move(windows);
  return out;
}

Profile profile(uint32_t layers, uint32_t heads, std::vector<double> values) {
  Profile out;
  out.kind = "made";
  out.layers = layers;
  out.heads = heads;
  out.values["score"] = std::move(values);
  return out;
}

TEST(HeadRanking, AGroupHasItsHighestValue) {
  const ModelShape shape = model({0, 0}, 4, 2);
  EXPECT_THAT(*by_kv_head(profile(2, 4, {1, 2, 4, 3, -5, -6, 0, 7}), "score", shape), ElementsAre(2, 4, -5, 7));
  EXPECT_THAT(*by_kv_head(profile(2, 2, {1, 2, 4, 3}), "score", shape), ElementsAre(1, 2, 4, 3));
}

TEST(HeadRanking, RefusesProfilesOfAnotherShape) {
  const ModelShape shape = model({0, 0}, 4, 2);
  for (const Profile& wrong : {profile(1, 2, {1, 2}), profile(2, 3, {1, 2, 3, 4, 5, 6}), profile(2, 2, {1, 2, 3})}) {
    const auto values = by_kv_head(wrong, "score", shape);
    ASSERT_FALSE(values.ok());
    EXPECT_EQ(values.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(values.error().message, HasSubstr("the model has 2 of 2 KV heads and 4 query heads"));
  }
  EXPECT_EQ(by_kv_head(profile(2, 2, {1, 2, 3, 4}), "gate", shape).error().code, ErrorCode::kNotFound);
}

TEST(HeadRanking, RanksOpenLayersTogetherAndTiesInOrder) {
  const std::vector<double> values = {0, 1, 9, 9, 1, 0}, mass = {.1, .2, 0, 0, .3, .1};
  EXPECT_THAT(ranked_heads(values, {}, model({0, 512, 0}, 2, 2)), ElementsAre(1, 4, 0, 5));
  EXPECT_THAT(ranked_heads(values, mass, model({0, 512, 0}, 2, 2)), ElementsAre(4, 1, 0, 5));
  EXPECT_THAT(ranked_heads(values, mass, model({0, 0, 0}, 2, 2)), ElementsAre(2, 3, 4, 1, 0, 5));
}

TEST(HeadRanking, CountsHeads) {
  EXPECT_EQ(nearest_count(0.25, 24), 6u);
  EXPECT_EQ(nearest_count(0.1, 24), 2u);
  EXPECT_EQ(nearest_count(0, 24), 0u);
  EXPECT_EQ(nearest_count(1, 24), 24u);
  EXPECT_EQ(count_from_above(0.14, 24), 4u);
  EXPECT_EQ(count_from_above(0.01, 24), 1u);
  EXPECT_EQ(count_from_above(0.14, 50), 7u);
  EXPECT_EQ(count_from_above(0, 24), 0u);
}

}  // namespace
}  // namespace loci
