// In-context regression as text: lines of numbers and the value of a linear function with noise, then numbers without
// one. The model's value is held against the closed forms of linear_regression.h: 1 is the Bayes predictor's value, 0
// an error no less than what the mean of all values, which needs no covariates, and the noise make together (after
// arXiv 2503.12734).
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/linear_regression.h"
#include "eval/suites.h"

namespace loci {
namespace {

constexpr double kNoise2 = 0.1;  // variance, as published

std::string line(std::span<const double> x) {
  std::string out = "x:";
  for (const double value : x) out += fmt::format(" {:.2f}", value);
  return out + " y:";
}

Sample regression(const SampleInput& input, uint32_t dimensions) {
  PythonRandom random(input.sample_seed);
  const RegressionProblem problem = draw_regression(random, dimensions, input.units, kNoise2);
  Sample sample;
  for (size_t l = 0; l < problem.examples(); ++l) {
    sample.prompt +=
        fmt::format("{} {:.2f}\n", line(std::span(problem.x).subspan(l * dimensions, dimensions)), problem.y[l]);
  }
  sample.prompt += line(problem.query);
  const double mean =
      std::accumulate(problem.y.begin(), problem.y.end(), 0.0) / static_cast<double>(problem.examples());
  const double bayes = predict_by_ridge(problem);
  const double far = std::sqrt((mean - bayes) * (mean - bayes) + kNoise2);
  sample.answers = {fmt::format("{:.4f}", bayes), fmt::format("{:.4f}", far)};
  return sample;
}

Sample regression_1(const SampleInput& input) { return regression(input, 1); }
Sample regression_5(const SampleInput& input) { return regression(input, 5); }

}  // namespace

std::vector<Task> icl_regression_tasks() {
  constexpr std::string_view kSuite = "icl-regression";
  constexpr std::string_view kSource = "after arXiv 2503.12734; own text";
  return {{kSuite, "regression_1", "the value of a linear function of one number", kSource, Scorer::kNearness, 8, 4,
           regression_1},
          {kSuite, "regression_5", "the value of a linear function of five numbers", kSource, Scorer::kNearness, 8, 8,
           regression_5}};
}

}  // namespace loci
