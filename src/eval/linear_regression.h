// Linear regression in context (arXiv 2503.12734): prompts of examples (x, y), what a trained head of attention answers
// to them in closed form, and the errors to expect. One layer of softmax attention ends as two heads of opposite sign,
// whose difference is one step of gradient descent on centred covariates; a regressor that knows the noise is ridge.
//
// With such weights set by hand an engine's attention can be graded exactly: y at a query is
//   sum over heads h of mu_h * softmax(omega_h * x_l . x_q) . y
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/python_random.h"

namespace loci {

// beta ~ N(0, I / d), x ~ N(0, I), y = beta . x + N(0, noise).
struct RegressionProblem {
  uint32_t dimensions = 0;    // d
  double noise = 0;           // variance
  std::vector<double> x;      // [examples, d]
  std::vector<double> y;      // [examples]
  std::vector<double> query;  // [d]
  double target = 0;          // the query's y, noise included

  size_t examples() const { return y.size(); }
};

RegressionProblem draw_regression(PythonRandom& random, uint32_t dimensions, uint32_t examples, double noise);

struct RegressionHead {
  double omega = 0;  // of the product of key and query
  double mu = 0;     // of the value
};

double predict_by_heads(const RegressionProblem& problem, std::span<const RegressionHead> heads);
// eta / L * sum of y_l x_l . x_q, and the same with the mean of the x_l taken away.
double predict_by_descent(const RegressionProblem& problem, double eta);
double predict_by_centred_descent(const RegressionProblem& problem, double eta);
// The Bayes predictor: x_q . (X X^T + noise d I)^-1 X y.
double predict_by_ridge(const RegressionProblem& problem);

// Expected squared errors, the target's noise included. Of heads: for many examples (formula 1 of the card); of plain
// descent: exact.
double error_of_heads(std::span<const RegressionHead> heads, uint32_t dimensions, uint32_t examples, double noise);
double error_of_descent(double eta, uint32_t dimensions, uint32_t examples, double noise);
// Of one head at its best omega: its best mu.
RegressionHead best_single_head(uint32_t dimensions, uint32_t examples, double noise);
// How many of the examples plain descent would have to see to err as much: the inverse of error_of_descent in examples.
// The largest double if no number suffices.
double examples_for_error(double error, double eta, uint32_t dimensions, double noise);

}  // namespace loci
