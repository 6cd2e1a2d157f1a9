#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "eval/python_random.h"

namespace loci {
namespace {

constexpr double kZ = 1.959963984540054;  // 97.5% of a normal distribution lie below
constexpr size_t kResamples = 2000;

bool binary(std::span<const double> values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return v == 0 || v == 1; });
}

uint64_t hits_in(std::span<const double> values) {
  return static_cast<uint64_t>(std::count(values.begin(), values.end(), 1.0));
}

// How the two shares hang together, corrected for continuity as Newcombe does.
double correlation(std::span<const double> first, std::span<const double> second) {
  double both = 0, only_first = 0, only_second = 0, none = 0;
  for (size_t i = 0; i < first.size(); ++i) {
    double& count = first[i] == 1 ? (second[i] == 1 ? both : only_first) : (second[i] == 1 ? only_second : none);
    ++count;
  }
  const double margins = (both + only_first) * (only_second + none) * (both + only_second) * (only_first + none);
  if (margins == 0) return 0;
  double determinant = both * none - only_first * only_second;
  if (determinant > 0) determinant = std::max(determinant - static_cast<double>(first.size()) / 2, 0.0);
  return determinant / std::sqrt(margins);
}

// Of two distances to the ends of Wilson's intervals.
double joined(double a, double b, double phi) { return std::sqrt(std::max(a * a - 2 * phi * a * b + b * b, 0.0)); }

Interval newcombe_interval(std::span<const double> first, std::span<const double> second) {
  const Interval a = wilson_interval(hits_in(first), first.size());
  const Interval b = wilson_interval(hits_in(second), second.size());
  const double phi = correlation(first, second);
  const double difference = b.mean - a.mean;
  return {difference, difference - joined(b.mean - b.low, a.high - a.mean, phi),
          difference + joined(b.high - b.mean, a.mean - a.low, phi)};
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

Interval wilson_interval(uint64_t hits, uint64_t count) {
  const auto n = static_cast<double>(count);
  const double p = static_cast<double>(hits) / n;
  const double scale = 1 + kZ * kZ / n;
  const double center = (p + kZ * kZ / (2 * n)) / scale;
  const double half = kZ / scale * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  // The ends meet 0 and 1 exactly, which rounding would miss.
  return {p, hits == 0 ? 0 : center - half, hits == count ? 1 : center + half};
}

Interval bootstrap_interval(std::span<const double> values, uint64_t seed) {
  PythonRandom random(seed);
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[static_cast<size_t>(random.below(values.size()))];
    mean = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  return {mean_of(values), means[kResamples / 40], means[kResamples - 1 - kResamples / 40]};
}

Interval mean_interval(std::span<const double> values) {
  if (binary(values)) return wilson_interval(hits_in(values), values.size());
  return bootstrap_interval(values);
}

Interval paired_interval(std::span<const double> first, std::span<const double> second) {
  if (binary(first) && binary(second)) return newcombe_interval(first, second);
  std::vector<double> differences;
  for (size_t i = 0; i < first.size(); ++i) differences.push_back(second[i] - first[i]);
  return bootstrap_interval(differences);
}

}  // namespace loci
