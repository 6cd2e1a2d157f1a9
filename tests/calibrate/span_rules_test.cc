#include "calibrate/span_rules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

namespace loci {
namespace {

// One head needs everything, two need half, the rest nothing.
double loss_of(uint32_t head, double share) {
  if (head == 0) return share < 1 ? 5 : 0;
  if (head <= 2) return share < 0.5 ? 1 : 0;
  return 0;
}

SpanProblem problem(double bound) {
  SpanProblem out{
      .layers = 2, .heads = 4, .lengths = {1024, 2048}, .bound = bound, .rules = candidate_rules(1024), .losses = {}};
  for (const double length : out.lengths) {
    for (uint32_t h = 0; h < 8; ++h) {
      for (const SpanRule& rule : out.rules) out.losses.push_back(loss_of(h, rule.span(length) / length));
    }
  }
  return out;
}

double density(const SpanProblem& p, const std::vector<uint32_t>& chosen, double length) {
  double sum = 0;
  for (const uint32_t rule : chosen) sum += p.rules[rule].span(length) / length;
  return sum / static_cast<double>(chosen.size());
}

TEST(SpanRules, CandidatesLieOnTheMeasuredSpans) {
  const std::vector<SpanRule> rules = candidate_rules(1024);
  EXPECT_NE(std::find(rules.begin(), rules.end(), SpanRule{0, 1}), rules.end());
  EXPECT_NE(std::find(rules.begin(), rules.end(), SpanRule{-512, 1}), rules.end());
  for (const SpanRule& rule : rules) {
    for (const double length : {1024.0, 2048.0}) {
      const double steps = rule.span(length) / length * kSpanSteps;
      EXPECT_EQ(steps, std::round(steps));
      EXPECT_GE(steps, 1);
      EXPECT_LE(steps, kSpanSteps);
    }
  }
}

TEST(SpanRules, TheGlobalHeadKeepsEverything) {
  const SpanProblem p = problem(0.5);
  const std::vector<uint32_t> chosen = choose_rules(p);
  ASSERT_EQ(chosen.size(), 8u);
  for (const double length : p.lengths) {
    EXPECT_EQ(p.rules[chosen[0]].span(length), length);
    EXPECT_LE(density(p, chosen, length), 0.5);
    for (uint32_t h = 3; h < 8; ++h) EXPECT_LT(p.rules[chosen[h]].span(length), length) << h;
  }
}

TEST(SpanRules, ATightBoundTakesSpansFromWhereTheyCostLeast) {
  const SpanProblem p = problem(0.26);  // everything for one head, an eighth for the others: 0.234
  const std::vector<uint32_t> chosen = choose_rules(p);
  EXPECT_EQ(p.rules[chosen[0]].span(2048), 2048);
  for (uint32_t h = 1; h < 8; ++h) EXPECT_LE(p.rules[chosen[h]].span(2048), 1024) << h;
  EXPECT_LE(density(p, chosen, 2048), 0.26);
}

TEST(SpanRules, RandomLossesMeetTheBoundWithTwoRulesALayer) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int round = 0; round < 20; ++round) {
    SpanProblem p = problem(0.2 + 0.8 * uniform(random));
    for (double& loss : p.losses) loss = uniform(random);
    const std::vector<uint32_t> chosen = choose_rules(p);
    for (const double length : p.lengths) EXPECT_LE(density(p, chosen, length), p.bound + 1e-9);
    for (uint32_t l = 0; l < 2; ++l)
      EXPECT_LE(std::set<uint32_t>(chosen.begin() + l * 4, chosen.begin() + l * 4 + 4).size(), 2u);
  }
}

// Heads that lose by every eighth that they do not see, a little or much: no wider rule that saves still fits.
TEST(SpanRules, NothingThatSavesIsLeftOfTheBound) {
  std::mt19937 random(6);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int round = 0; round < 10; ++round) {
    SpanProblem p = problem(0.3 + 0.4 * uniform(random));
    p.losses.clear();
    double weight[8];
    for (double& w : weight) w = std::pow(10, -3 * uniform(random));
    for (const double length : p.lengths) {
      for (const double w : weight) {
        for (const SpanRule& rule : p.rules) p.losses.push_back(w * (1 - rule.span(length) / length));
      }
    }
    const std::vector<uint32_t> chosen = choose_rules(p);
    for (uint32_t l = 0; l < 2; ++l) {
      for (uint32_t h = 0; h < 4; ++h) {
        for (uint32_t to = 0; to < p.rules.size(); ++to) {
          std::vector<uint32_t> other = chosen;
          for (uint32_t i = l * 4; i < l * 4 + 4; ++i) {
            if (chosen[i] == chosen[l * 4 + h]) other[i] = to;
          }
          const bool wider = p.rules[to].span(1024) + p.rules[to].span(2048) / 2 >
                             p.rules[chosen[l * 4 + h]].span(1024) + p.rules[chosen[l * 4 + h]].span(2048) / 2;
          if (!wider) continue;
          EXPECT_TRUE(density(p, other, 1024) > p.bound || density(p, other, 2048) > p.bound) << round << " " << to;
        }
      }
    }
  }
}

}  // namespace
}  // namespace loci
