// How alike queries of different steps are: what methods that reuse a choice ask before they do.
#pragma once

#include <cmath>
#include <cstddef>

namespace loci {

struct Cosine {
  double product = 0, a = 0, b = 0;

  void add(const float* x, const float* y, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      product += double{x[i]} * y[i];
      a += double{x[i]} * x[i];
      b += double{y[i]} * y[i];
    }
  }
  // 0 where one of the two is.
  double value() const { return a > 0 && b > 0 ? product / std::sqrt(a * b) : 0.0; }
};

}  // namespace loci
