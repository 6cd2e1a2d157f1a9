// Means and how sure they are.
#pragma once

#include <cstdint>
#include <span>

namespace loci {

struct Interval {
  double mean = 0;
  double low = 0;  // of the 95% interval
  double high = 0;
};

// Wilson's interval of a share: `hits` of `count`, count at least 1.
Interval wilson_interval(uint64_t hits, uint64_t count);
// The percentile interval of the mean over 2,000 resamples drawn from `seed`. values are not empty.
Interval bootstrap_interval(std::span<const double> values, uint64_t seed = 1);
// Wilson's if all values are 0 or 1, else the bootstrap's.
Interval mean_interval(std::span<const double> values);
// The mean of second[i] - first[i]: Newcombe's score interval for paired shares (1998, method 10) if all values are 0
// or 1, else the bootstrap's. Equally many values, at least one.
Interval paired_interval(std::span<const double> first, std::span<const double> second);

}  // namespace loci
