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
  if (std::all_of(values.begin(), values.end(), [](double v) { return v == 0 || v == 1; })) {
    return wilson_interval(static_cast<uint64_t>(std::count(values.begin(), values.end(), 1.0)), values.size());
  }
  return bootstrap_interval(values);
}

}  // namespace loci
