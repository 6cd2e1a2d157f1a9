// The closed forms of in-context regression against simulation and the published table (dimension 5, noise 0.1).
#include "eval/linear_regression.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>

#include "eval/suite_fixture.h"

namespace loci {
namespace {

constexpr uint32_t kDimensions = 5;
constexpr double kNoise = 0.1;
constexpr std::array<RegressionHead, 2> kPair{{{0.13, 3.45}, {-0.13, -3.45}}};
constexpr double kEta = 2 * 0.13 * 3.45;

double squared_error(uint32_t examples, int prompts, const std::function<double(const RegressionProblem&)>& predict) {
  PythonRandom random(examples);
  double sum = 0;
  for (int i = 0; i < prompts; ++i) {
    const RegressionProblem problem = draw_regression(random, kDimensions, examples, kNoise);
    const double error = predict(problem) - problem.target;
    sum += error * error;
  }
  return sum / prompts;
}

TEST(LinearRegression, TheTableOfThePaperComesOut) {
  struct Row {
    uint32_t examples;
    double pair, centred, plain, ridge;
  };
  for (const Row& row :
       {Row{20, .367, .369, .371, .134}, Row{40, .243, .243, .241, .115}, Row{100, .164, .163, .162, .104}}) {
    SCOPED_TRACE(row.examples);
    constexpr int kPrompts = 20000;
    const uint32_t n = row.examples;
    EXPECT_NEAR(squared_error(n, kPrompts, [](const auto& p) { return predict_by_heads(p, kPair); }), row.pair, 0.015);
    EXPECT_NEAR(squared_error(n, kPrompts, [](const auto& p) { return predict_by_centred_descent(p, kEta); }),
                row.centred, 0.015);
    EXPECT_NEAR(squared_error(n, kPrompts, [](const auto& p) { return predict_by_descent(p, kEta); }), row.plain,
                0.015);
    EXPECT_NEAR(squared_error(n, kPrompts, [](const auto& p) { return predict_by_ridge(p); }), row.ridge, 0.005);
  }
}

TEST(LinearRegression, ErrorsInClosedForm) {
  EXPECT_NEAR(error_of_descent(kEta, kDimensions, 10, kNoise), 0.6336, 5e-4);
  EXPECT_NEAR(error_of_descent(kEta, kDimensions, 40, kNoise), 0.2413, 5e-4);
  const RegressionHead single = best_single_head(kDimensions, 40, kNoise);
  EXPECT_NEAR(error_of_heads(std::span(&single, 1), kDimensions, 40, kNoise),
              1 + kNoise - 1 / (1 + (1 + kNoise) * std::exp(1.0) * kDimensions / 40), 1e-12);
  // The closed form leaves out what a finite prompt adds to one head; drawn prompts give 0.405 (paper's notebook) to
  // 0.41.
  EXPECT_NEAR(squared_error(40, 20000, [&](const auto& p) { return predict_by_heads(p, std::span(&single, 1)); }),
              0.408, 0.015);
  const double sinh_form = 1 + kNoise - 2 * kEta +
                           kEta * kEta * (1 + (1 + kNoise) / 40 * std::sinh(kDimensions * 0.13 * 0.13) / (0.13 * 0.13));
  EXPECT_NEAR(error_of_heads(kPair, kDimensions, 40, kNoise), sinh_form, 1e-12);
  for (const uint32_t examples : {10U, 40U, 1000U}) {
    EXPECT_NEAR(examples_for_error(error_of_descent(kEta, kDimensions, examples, kNoise), kEta, kDimensions, kNoise),
                examples, 1e-6 * examples);
  }
}

// The pair is one step of descent up to the square of omega: at a given eta the difference falls four times when omega
// is halved.
TEST(LinearRegression, APairOfHeadsIsOneStepOfDescent) {
  PythonRandom random(3);
  const RegressionProblem problem = draw_regression(random, kDimensions, 40, kNoise);
  constexpr double kStep = 0.879;
  const auto off = [&](double omega) {
    const std::array<RegressionHead, 2> pair{{{omega, kStep / 2 / omega}, {-omega, -kStep / 2 / omega}}};
    return std::abs(predict_by_heads(problem, pair) - predict_by_centred_descent(problem, kStep));
  };
  for (const double omega : {0.1, 0.05, 0.02}) EXPECT_NEAR(off(omega) / off(omega / 2), 4, 0.1) << omega;
  EXPECT_LT(off(0.001), 1e-5);
}

TEST(LinearRegression, AnsweringAsBayesScoresFullyAndTheMeanNothing) {
  const Sample sample = task("regression_5").generate({.data = data(), .seed = 1, .sample_seed = 2, .units = 30});
  EXPECT_EQ(occurrences(sample.prompt, "\n"), 30U);
  EXPECT_EQ(sample.prompt.substr(sample.prompt.size() - 3), " y:");
  const double bayes = std::stod(sample.answers[0]), far = std::stod(sample.answers[1]);
  const auto score = [&](double said) {
    return score_answer(Scorer::kNearness, " " + std::to_string(said), sample.answers);
  };
  EXPECT_NEAR(score(bayes), 1, 1e-6);
  EXPECT_NEAR(score(bayes + far / 2), 0.75, 1e-4);
  EXPECT_EQ(score(bayes + far * 1.001), 0);
  EXPECT_EQ(score(bayes - far * 1.5), 0);
  EXPECT_EQ(score_answer(Scorer::kNearness, "none", sample.answers), 0);
  EXPECT_EQ(score_answer(Scorer::kNearness, "-0.5", {"-0.5", "1"}), 1);
}

}  // namespace
}  // namespace loci
