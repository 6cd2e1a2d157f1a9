#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace loci {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_logits(std::mt19937& random, size_t n, float spread) {
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> logits(n);
  for (float& x : logits) x = normal(random);
  return logits;
}

std::map<TokenId, double> probabilities(Sampler& sampler, const std::vector<float>& logits,
                                        const std::vector<TokenId>& recent = {}) {
  const auto kept = sampler.candidates(logits, recent);
  EXPECT_TRUE(kept.ok());
  std::map<TokenId, double> result;
  double total = 0;
  for (const auto& c : *kept) total += static_cast<double>(c.weight);
  for (const auto& c : *kept) {
    if (c.weight > 0) result[c.id] = static_cast<double>(c.weight) / total;
  }
  return result;
}

// The definition with a full sort and doubles. Empty if rounding could move a border.
std::optional<std::map<TokenId, double>> by_definition(const Sampling& s, const std::vector<float>& logits,
                                                       double border = 1e-6) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](TokenId id) { return double{logits[static_cast<size_t>(id)]}; };
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return at(a) > at(b); });
  if (s.top_k > 0 && s.top_k < order.size()) order.resize(s.top_k);
  const auto weight = [&](TokenId id) { return std::exp((at(id) - at(order[0])) / double{s.temperature}); };
  double total = 0;
  for (const TokenId id : order) total += weight(id);
  std::map<TokenId, double> kept;
  double sum = 0;
  for (const TokenId id : order) {
    if (s.top_p < 1.0F && sum >= double{s.top_p} * total && !kept.empty()) break;
    sum += weight(id);
    if (s.top_p < 1.0F && std::abs(sum / total - double{s.top_p}) < border) return std::nullopt;
    if (std::abs(weight(id) - double{s.min_p}) < border) return std::nullopt;
    if (std::abs(std::log2(weight(id)) + 40) < 1e5 * border) return std::nullopt;
    if (weight(id) >= double{s.min_p} && weight(id) > 0x1p-40) kept[id] = weight(id);
  }
  double kept_total = 0;
  for (const auto& [id, w] : kept) kept_total += w;
  for (auto& [id, w] : kept) w /= kept_total;
  return kept;
}

TEST(Sampler, GreedyTakesTheLowestIdOfATie) {
  Sampler sampler(Sampling{});
  for (size_t n = 1; n < 70; ++n) {
    std::vector<float> logits(n, -2.0F);
    EXPECT_EQ(*sampler.sample(logits, {}, 0), 0);
    logits[n - 1] = logits[n / 2] = 1.0F;
    EXPECT_EQ(*sampler.sample(logits, {}, 0), static_cast<TokenId>(n / 2));
  }
}

TEST(Sampler, KeepsExactlyTheDefinedSets) {
  std::mt19937 random(7);
  int compared = 0;
  for (int round = 0; round < 3000; ++round) {
    const size_t n = 1 + random() % 300;
    auto logits = random_logits(random, n, 0.5F + static_cast<float>(random() % 8));
    if (round % 3 == 0) {  // many ties
      for (float& x : logits) x = std::round(x);
    }
    Sampling s;
    s.temperature = 0.1F + 0.01F * static_cast<float>(random() % 200);
    if (random() % 2) s.top_k = static_cast<uint32_t>(1 + random() % (2 * n));
    if (random() % 2) s.top_p = static_cast<float>(random() % 1000) / 1000.0F;
    if (random() % 2) s.min_p = static_cast<float>(random() % 1000) / 1000.0F;
    const auto expected = by_definition(s, logits);
    if (!expected) continue;
    ++compared;
    Sampler sampler(s);
    const auto found = probabilities(sampler, logits);
    ASSERT_EQ(found.size(), expected->size()) << "round " << round;
    for (const auto& [id, p] : *expected) {
      ASSERT_TRUE(found.contains(id)) << "round " << round;
      ASSERT_NEAR(found.at(id), p, 1e-6 * p + 1e-10) << "round " << round;
    }
  }
  EXPECT_GT(compared, 1500);
}

TEST(Sampler, BordersOnTiesAreExact) {
  const std::vector<float> even(8, 0.25F);
  Sampler half(Sampling{.temperature = 1.0F, .top_p = 0.5F});
  const auto kept = probabilities(half, even);
  ASSERT_EQ(kept.size(), 4U);
  EXPECT_EQ(kept.rbegin()->first, 3);
  Sampler three(Sampling{.temperature = 1.0F, .top_k = 3});
  EXPECT_EQ(probabilities(three, even).rbegin()->first, 2);
  Sampler best_only(Sampling{.temperature = 1.0F, .min_p = 1.0F});
  EXPECT_EQ(probabilities(best_only, even).size(), 8U);
  Sampler nothing(Sampling{.temperature = 1.0F, .top_p = 0.0F});
  EXPECT_EQ(probabilities(nothing, even).size(), 1U);
}

TEST(Sampler, WorksOnALargeVocabulary) {
  std::mt19937 random(3);
  auto logits = random_logits(random, 262144, 3.0F);
  for (size_t i = 0; i < logits.size(); i += 7) logits[i] = -kInfinity;
  for (const Sampling& s : {Sampling{.temperature = 0.8F, .top_k = 40}, Sampling{.temperature = 1.0F, .top_p = 0.93F},
                            Sampling{.temperature = 1.3F, .top_k = 100000, .top_p = 0.9F, .min_p = 0.01F}}) {
    // Tokens are so many that each moves the sum by less than the weights' rounding: a few may differ at the border.
    const auto expected = by_definition(s, logits, 0.0);
    Sampler sampler(s);
    const auto found = probabilities(sampler, logits);
    ASSERT_NEAR(static_cast<double>(found.size()), static_cast<double>(expected->size()), 3.0);
    size_t shared = 0;
    for (const auto& [id, p] : found) shared += expected->contains(id);
    EXPECT_GE(shared + 3, found.size());
  }
}

TEST(Sampler, DrawsWithTheSoftmaxProbabilities) {
  std::mt19937 random(11);
  for (int round = 0; round < 8; ++round) {
    const auto logits = random_logits(random, 12, 1.5F);
    const Sampling s{.temperature = 0.5F + 0.2F * static_cast<float>(round), .seed = random()};
    Sampler sampler(s);
    const auto expected = *by_definition(s, logits);
    constexpr int kDraws = 20000;
    std::vector<int> counts(logits.size());
    for (uint64_t i = 0; i < kDraws; ++i) ++counts[static_cast<size_t>(*sampler.sample(logits, {}, i))];
    double chi = 0;
    int cells = 0;
    double rest_expected = 0;
    int rest = 0;
    for (const auto& [id, p] : expected) {
      const int count = counts[static_cast<size_t>(id)];
      if (p * kDraws < 5) {
        rest_expected += p * kDraws;
        rest += count;
        continue;
      }
      chi += std::pow(count - p * kDraws, 2) / (p * kDraws);
      ++cells;
    }
    EXPECT_LT(std::abs(rest - rest_expected), 6 * std::sqrt(rest_expected + 1)) << "round " << round;
    // Mean cells - 1, standard deviation sqrt(2 (cells - 1)): five of them are never met by chance in eight rounds.
    EXPECT_LT(chi, cells - 1 + 5 * std::sqrt(2.0 * cells)) << "round " << round;
  }
}

// Filters that keep everything list what the plain draw does not.
TEST(Sampler, DrawsTheSameWithAndWithoutAList) {
  std::mt19937 random(21);
  for (const float temperature : {0.3F, 1.0F, 4.0F}) {
    std::vector<float> logits = random_logits(random, 3000, 9.0F);
    logits[7] = -std::numeric_limits<float>::infinity();
    logits[8] = *std::max_element(logits.begin(), logits.end()) - 27.725887F * temperature;
    Sampler plain(Sampling{.temperature = temperature, .repetition_penalty = 1.3F, .seed = 6});
    Sampler listed(Sampling{.temperature = temperature, .top_k = 3000, .repetition_penalty = 1.3F, .seed = 6});
    const std::vector<TokenId> recent = {5, 2999, 5, 40};
    for (uint64_t i = 0; i < 500; ++i) ASSERT_EQ(*plain.sample(logits, recent, i), *listed.sample(logits, recent, i));
  }
}

TEST(Sampler, SameSeedSamePositionSameToken) {
  std::mt19937 random(5);
  const auto logits = random_logits(random, 500, 2.0F);
  Sampler a(Sampling{.temperature = 1.0F, .seed = 42});
  Sampler b(Sampling{.temperature = 1.0F, .seed = 42});
  Sampler other(Sampling{.temperature = 1.0F, .seed = 43});
  std::vector<TokenId> forward, backward, others;
  for (uint64_t i = 0; i < 64; ++i) {
    forward.push_back(*a.sample(logits, {}, i));
    backward.push_back(*b.sample(logits, {}, 63 - i));
    others.push_back(*other.sample(logits, {}, i));
  }
  std::reverse(backward.begin(), backward.end());
  EXPECT_EQ(forward, backward);
  EXPECT_NE(forward, others);
  EXPECT_GT(std::set<TokenId>(forward.begin(), forward.end()).size(), 20U);
}

TEST(Sampler, RandomNumbersAreFixedForEver) {
  // SplitMix64 from state 0 gives 0xe220a8397b1dcdaf first: the mixing function of the golden-ratio step.
  EXPECT_EQ(random_number(0, 0), 0xa706dd2f4d197e6fULL);
  EXPECT_NE(random_number(0, 1), random_number(1, 0));
}

TEST(Sampler, AColdTemperatureIsGreedy) {
  std::mt19937 random(9);
  for (uint64_t round = 0; round < 200; ++round) {
    const auto logits = random_logits(random, 1000, 2.0F);
    Sampler greedy(Sampling{});
    for (const float temperature : {1e-6F, 1e-30F, std::numeric_limits<float>::denorm_min()}) {
      Sampler cold(Sampling{.temperature = temperature, .seed = round});
      ASSERT_EQ(*cold.sample(logits, {}, round), *greedy.sample(logits, {}, round));
    }
  }
}

TEST(Sampler, PenaltyLooksAtTheWindowAndCountsATokenOnce) {
  const std::vector<float> logits = {2.0F, 1.5F, -1.0F, -1.1F};
  const std::vector<TokenId> recent = {1, 0, 0, 2};
  Sampler sampler(Sampling{.temperature = 1.0F, .repetition_penalty = 2.0F, .repetition_window = 3});
  const auto kept = sampler.candidates(logits, recent);
  ASSERT_TRUE(kept.ok());
  ASSERT_EQ(kept->size(), 4U);
  EXPECT_EQ((*kept)[0].score, 1.0F);   // divided once
  EXPECT_EQ((*kept)[1].score, 1.5F);   // outside the window
  EXPECT_EQ((*kept)[2].score, -2.0F);  // negative: multiplied
  EXPECT_EQ((*kept)[3].score, -1.1F);
  Sampler greedy(Sampling{.repetition_penalty = 2.0F, .repetition_window = 3});
  EXPECT_EQ(*greedy.sample(logits, recent, 0), 1);
  Sampler off(Sampling{.repetition_penalty = 2.0F, .repetition_window = 0});
  EXPECT_EQ(*off.sample(logits, recent, 0), 0);
}

TEST(Sampler, NamesLogitsThatAreNoNumbers) {
  for (const float temperature : {0.0F, 1.0F}) {
    Sampler sampler(Sampling{.temperature = temperature, .repetition_penalty = 1.5F});
    for (size_t at = 0; at < 40; ++at) {
      std::vector<float> logits(40, 1.0F);
      logits[at] = kNan;
      const auto nan = sampler.sample(logits, {}, 0);
      ASSERT_FALSE(nan.ok());
      EXPECT_EQ(nan.error().code, ErrorCode::kInternal);
      EXPECT_NE(nan.error().message.find(fmt::format("token {} is nan", at)), std::string::npos) << nan.error().message;
      logits[at] = kInfinity;
      EXPECT_FALSE(sampler.sample(logits, {}, 0).ok());
      logits[at] = -kInfinity;
      EXPECT_TRUE(sampler.sample(logits, {}, 0).ok());
    }
    EXPECT_FALSE(sampler.sample({}, {}, 0).ok());
    EXPECT_FALSE(sampler.sample(std::vector<float>(3, -kInfinity), {}, 0).ok());
    EXPECT_FALSE(sampler.sample(std::vector<float>(3, 0.0F), std::vector<TokenId>{3}, 0).ok());
    EXPECT_FALSE(sampler.sample(std::vector<float>(3, 0.0F), std::vector<TokenId>{-1}, 0).ok());
  }
}

TEST(Sampler, ChecksItsSettings) {
  EXPECT_TRUE(check(Sampling{}).ok());
  EXPECT_FALSE(check(Sampling{.temperature = -1.0F}).ok());
  EXPECT_FALSE(check(Sampling{.temperature = kNan}).ok());
  EXPECT_FALSE(check(Sampling{.top_p = 1.1F}).ok());
  EXPECT_FALSE(check(Sampling{.top_p = kNan}).ok());
  EXPECT_FALSE(check(Sampling{.min_p = -0.1F}).ok());
  EXPECT_FALSE(check(Sampling{.repetition_penalty = 0.0F}).ok());
  EXPECT_FALSE(check(Sampling{.repetition_penalty = kInfinity}).ok());
}

}  // namespace
}  // namespace loci
