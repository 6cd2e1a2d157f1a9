#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "eval/suite_fixture.h"

namespace loci {
namespace {

std::vector<TokenId> ids(uint32_t count) {
  std::vector<TokenId> out(count);
  std::iota(out.begin(), out.end(), 0);
  return out;
}

TEST(Numpy, PermutesAndChoosesAsNumpyDoes) {
  MersenneTwister numpy(42U);
  EXPECT_EQ(numpy_permutation(numpy, 8), (std::vector<size_t>{1, 5, 0, 7, 2, 4, 3, 6}));
  EXPECT_EQ(numpy_permutation(numpy, 1), (std::vector<size_t>{0}));
  EXPECT_TRUE(numpy_permutation(numpy, 0).empty());
}

TEST(Mqar, PairsAndQueriesAreThePublishedOnes) {
  for (const nlohmann::json& item : stored_prompts("mqar.json")) {
    const uint32_t share = item.at("tokens_per_pair");
    const std::vector<TokenId> vocabulary = ids(item.at("vocabulary"));
    const std::vector<TokenId> wanted = item.at("tokens").get<std::vector<TokenId>>();
    const Task& t = task(share == 4 ? "mqar" : share == 16 ? "mqar_sparse" : "mqar_updates");
    const Recall recall = t.generate({.data = data(),
                                      .seed = 1,
                                      .sample_seed = item.at("sample_seed"),
                                      .units = static_cast<uint32_t>(wanted.size() / 2),
                                      .vocabulary = vocabulary})
                              .recall;
    EXPECT_EQ(recall.context, item.at("context").get<uint32_t>());
    ASSERT_EQ(recall.tokens.size(), wanted.size());
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] != 0) {
        EXPECT_EQ(recall.tokens[i], wanted[i]) << i;
      } else if (share == 16) {
        EXPECT_EQ(recall.tokens[i], 0);
      }
    }
    std::vector<std::pair<uint32_t, TokenId>> queries;
    for (const Recall::Query& query : recall.queries) queries.emplace_back(query.at, query.value);
    EXPECT_EQ(queries, (item.at("queries").get<std::vector<std::pair<uint32_t, TokenId>>>()));
  }
}

// What the card asks of every row: as many labels as pairs, each the value that was last told for the token there.
TEST(Mqar, EveryQueryAsksForTheLastValueOfItsKey) {
  const std::vector<TokenId> vocabulary = ids(8192);
  for (const char* name : {"mqar", "mqar_sparse", "mqar_updates"}) {
    SCOPED_TRACE(name);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const Recall recall =
          task(name)
              .generate({.data = data(), .seed = 1, .sample_seed = seed, .units = 128, .vocabulary = vocabulary})
              .recall;
      std::map<TokenId, TokenId> told;
      for (uint32_t i = 0; i < recall.context; i += 2) {
        ASSERT_LT(recall.tokens[i], 4096);
        ASSERT_GE(recall.tokens[i + 1], 4096);
        told[recall.tokens[i]] = recall.tokens[i + 1];
      }
      EXPECT_EQ(recall.queries.size(), told.size());
      EXPECT_EQ(recall.context, std::string_view(name) == "mqar_updates" ? 3 * told.size() : 2 * told.size());
      for (const Recall::Query& query : recall.queries) {
        ASSERT_GE(query.at, recall.context);
        ASSERT_LT(query.at + 1, recall.tokens.size());
        EXPECT_EQ(told.at(recall.tokens[query.at]), query.value);
      }
    }
  }
}

TEST(Mqar, AVocabularyTooSmallForItsPairsLimitsThem) {
  const std::vector<TokenId> vocabulary = ids(256);
  const Recall recall =
      task("mqar")
          .generate({.data = data(), .seed = 1, .sample_seed = 1, .units = 4096, .vocabulary = vocabulary})
          .recall;
  EXPECT_EQ(recall.queries.size(), 127U);
  EXPECT_EQ(recall.tokens.size(), 8192U);
}

}  // namespace
}  // namespace loci
