// Scorers, intervals, divergences.
#include <gtest/gtest.h>

#include <cmath>

#include "eval/divergence.h"
#include "eval/scorers.h"
#include "eval/statistics.h"

namespace loci {
namespace {

TEST(Scorers, AllIsAShareAndPartIsAny) {
  EXPECT_EQ(score_answer(Scorer::kAll, " 123, ABC and 9", {"abc", "123", "77", "x"}), 0.5);
  EXPECT_EQ(score_answer(Scorer::kPart, " 123, ABC and 9", {"abc", "123", "77", "x"}), 1);
  EXPECT_EQ(score_answer(Scorer::kPart, "nothing", {"abc"}), 0);
  EXPECT_EQ(score_answer(Scorer::kAll, "a\tb", {"a\nb"}), 1);  // control characters are ends of lines
}

TEST(Scorers, TheFirstIntegerCounts) {
  EXPECT_EQ(score_answer(Scorer::kFirstInteger, " 4711. 12", {"4711"}), 1);
  EXPECT_EQ(score_answer(Scorer::kFirstInteger, "12 4711", {"4711"}), 0);
  EXPECT_EQ(score_answer(Scorer::kFirstInteger, "47112", {"4711"}), 0);
  EXPECT_EQ(score_answer(Scorer::kFirstInteger, "none", {"4711"}), 0);
}

TEST(Statistics, WilsonsIntervalIsThePublishedOne) {
  const Interval most = wilson_interval(20, 20);
  EXPECT_EQ(most.mean, 1);
  EXPECT_NEAR(most.low, 0.8389, 5e-5);
  EXPECT_EQ(most.high, 1);
  const Interval some = wilson_interval(81, 263);  // Newcombe 1998, case a
  EXPECT_NEAR(some.low, 0.2553, 5e-5);
  EXPECT_NEAR(some.high, 0.3662, 5e-5);
}

TEST(Statistics, TheBootstrapCoversAMeanAboutAsOftenAsItSays) {
  uint64_t state = 1;
  const auto uniform = [&state] {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<double>(state >> 11) * 0x1p-53;
  };
  int covered = 0;
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<double> values(40);
    for (double& v : values) v = uniform();
    const Interval interval = bootstrap_interval(values);
    EXPECT_LT(interval.high - interval.low, 0.3);
    covered += interval.low <= 0.5 && 0.5 <= interval.high ? 1 : 0;
  }
  EXPECT_GE(covered, 86);
  EXPECT_LT(covered, 100);
}

TEST(Statistics, PairedSharesHaveNewcombesInterval) {
  // 36 prompts right in both, 12 in the first alone, 2 in the second alone (Newcombe 1998, example of his table III).
  std::vector<double> first, second;
  const auto add = [&](int count, double a, double b) {
    for (int i = 0; i < count; ++i) {
      first.push_back(a);
      second.push_back(b);
    }
  };
  add(36, 1, 1);
  add(12, 1, 0);
  add(2, 0, 1);
  const Interval fell = paired_interval(first, second);
  EXPECT_NEAR(fell.mean, -0.2, 1e-12);
  EXPECT_NEAR(fell.low, -0.3404, 5e-5);
  EXPECT_NEAR(fell.high, -0.0569, 5e-5);
  const Interval rose = paired_interval(second, first);
  EXPECT_NEAR(rose.low, 0.0569, 5e-5);
  EXPECT_NEAR(rose.high, 0.3404, 5e-5);
  // Equal and right everywhere: no difference, but few prompts prove little.
  const std::vector<double> ones(24, 1);
  const Interval none = paired_interval(ones, ones);
  EXPECT_EQ(none.mean, 0);
  EXPECT_LT(none.low, -0.1);
  EXPECT_GT(none.high, 0.1);
}

TEST(Divergence, OfDistributionsThatDifferKnowably) {
  const std::vector<float> p{std::log(0.5F), std::log(0.25F), std::log(0.25F)};
  const std::vector<float> q{std::log(0.25F) + 3, std::log(0.25F) + 3, std::log(0.5F) + 3};  // logits, any offset
  const ReferenceRow row = reference_row(p);
  EXPECT_EQ(row.ids, (std::vector<TokenId>{0, 1, 2}));
  EXPECT_NEAR(divergence(row, q), 0.5 * std::log(2.0) + 0.25 * std::log(0.5), 1e-6);
  EXPECT_NEAR(divergence(row, p), 0, 1e-7);
  EXPECT_EQ(argmax(q), 2);
}

TEST(Divergence, BeyondTheTokensKeptTheRestIsOneOutcome) {
  std::vector<float> p(kReferenceTokens + 100, 0.0F), q = p;
  for (size_t i = kReferenceTokens; i < q.size(); ++i) q[i] = 2;
  const ReferenceRow row = reference_row(p);
  ASSERT_EQ(row.ids.size(), kReferenceTokens);
  const double n = static_cast<double>(p.size()), kept = kReferenceTokens;
  const double total = kept + 100 * std::exp(2.0);
  const double expected = kept / n * std::log(total / n) + 100 / n * std::log(100 / n / (100 * std::exp(2.0) / total));
  EXPECT_NEAR(divergence(row, q), expected, 1e-5);
}

}  // namespace
}  // namespace loci
