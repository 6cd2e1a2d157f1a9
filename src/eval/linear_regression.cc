#include "eval/linear_regression.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

namespace loci {
namespace {

// Box and Muller's.
double normal(PythonRandom& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.random()));
  return radius * std::cos(2 * std::numbers::pi * random.random());
}

std::vector<double> normals(PythonRandom& random, size_t count) {
  std::vector<double> out(count);
  for (double& value : out) value = normal(random);
  return out;
}

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

std::span<const double> example(const RegressionProblem& p, size_t l) {
  return std::span(p.x).subspan(l * p.dimensions, p.dimensions);
}

// Products of the query with every example.
std::vector<double> products(const RegressionProblem& p) {
  std::vector<double> out;
  for (size_t l = 0; l < p.examples(); ++l) out.push_back(dot(example(p, l), p.query));
  return out;
}

// Solves a symmetric positive definite system in place: Gauss without pivots.
std::vector<double> solve(std::vector<double> matrix, std::vector<double> right) {
  const size_t n = right.size();
  for (size_t i = 0; i < n; ++i) {
    for (size_t r = i + 1; r < n; ++r) {
      const double factor = matrix[r * n + i] / matrix[i * n + i];
      for (size_t c = i; c < n; ++c) matrix[r * n + c] -= factor * matrix[i * n + c];
      right[r] -= factor * right[i];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t c = i + 1; c < n; ++c) right[i] -= matrix[i * n + c] * right[c];
    right[i] /= matrix[i * n + i];
  }
  return right;
}

}  // namespace

RegressionProblem draw_regression(PythonRandom& random, uint32_t dimensions, uint32_t examples, double noise) {
  RegressionProblem out;
  out.dimensions = dimensions;
  out.noise = noise;
  std::vector<double> beta = normals(random, dimensions);
  for (double& b : beta) b /= std::sqrt(static_cast<double>(dimensions));
  out.x = normals(random, size_t{dimensions} * examples);
  const double deviation = std::sqrt(noise);
  for (size_t l = 0; l < examples; ++l) {
    out.y.push_back(dot(beta, std::span(out.x).subspan(l * dimensions, dimensions)) + deviation * normal(random));
  }
  out.query = normals(random, dimensions);
  out.target = dot(beta, out.query) + deviation * normal(random);
  return out;
}

double predict_by_heads(const RegressionProblem& problem, std::span<const RegressionHead> heads) {
  const std::vector<double> s = products(problem);
  double out = 0;
  for (const RegressionHead& head : heads) {
    double most = -std::numeric_limits<double>::infinity();
    for (const double product : s) most = std::max(most, head.omega * product);
    double weight = 0, sum = 0;
    for (size_t l = 0; l < s.size(); ++l) {
      const double e = std::exp(head.omega * s[l] - most);
      weight += e;
      sum += e * problem.y[l];
    }
    out += head.mu * sum / weight;
  }
  return out;
}

double predict_by_descent(const RegressionProblem& problem, double eta) {
  return eta * dot(problem.y, products(problem)) / static_cast<double>(problem.examples());
}

double predict_by_centred_descent(const RegressionProblem& problem, double eta) {
  std::vector<double> s = products(problem);
  const double mean = std::accumulate(s.begin(), s.end(), 0.0) / static_cast<double>(s.size());
  for (double& product : s) product -= mean;
  return eta * dot(problem.y, s) / static_cast<double>(problem.examples());
}

double predict_by_ridge(const RegressionProblem& problem) {
  const size_t d = problem.dimensions;
  std::vector<double> matrix(d * d), right(d);
  for (size_t l = 0; l < problem.examples(); ++l) {
    const std::span<const double> x = example(problem, l);
    for (size_t i = 0; i < d; ++i) {
      for (size_t j = 0; j < d; ++j) matrix[i * d + j] += x[i] * x[j];
      right[i] += x[i] * problem.y[l];
    }
  }
  for (size_t i = 0; i < d; ++i) matrix[i * d + i] += problem.noise * static_cast<double>(d);
  return dot(solve(std::move(matrix), std::move(right)), problem.query);
}

double error_of_heads(std::span<const RegressionHead> heads, uint32_t dimensions, uint32_t examples, double noise) {
  double error = 1 + noise;
  for (const RegressionHead& a : heads) {
    error -= 2 * a.mu * a.omega;
    for (const RegressionHead& b : heads) {
      const double product = a.omega * b.omega;
      error += a.mu * b.mu * (product + (1 + noise) / examples * std::exp(dimensions * product));
    }
  }
  return error;
}

double error_of_descent(double eta, uint32_t dimensions, uint32_t examples, double noise) {
  const double spread = (dimensions + 1 + noise * dimensions) / examples;
  return 1 + noise - 2 * eta + eta * eta * (1 + spread);
}

RegressionHead best_single_head(uint32_t dimensions, uint32_t examples, double noise) {
  const double root = std::sqrt(static_cast<double>(dimensions));
  return {1 / root, root / (1 + (1 + noise) * std::numbers::e * dimensions / examples)};
}

double examples_for_error(double error, double eta, uint32_t dimensions, double noise) {
  const double left = error - (1 + noise - 2 * eta + eta * eta);
  if (left <= 0) return std::numeric_limits<double>::max();
  return eta * eta * (dimensions + 1 + noise * dimensions) / left;
}

}  // namespace loci
