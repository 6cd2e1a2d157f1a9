#include "calibrate/quantize/rotation.h"

#include <cmath>
#include <random>

#include "base/assert.h"

namespace loci {

Rotation::Rotation(size_t size) : signs_(size), odd_(size) {
  LOCI_ASSERT(size > 0, "a rotation turns something");
  while (odd_ % 2 == 0) odd_ /= 2;
  std::mt19937 random(1);
  for (double& sign : signs_) sign = (random() & 1u) != 0 ? 1.0 : -1.0;
  small_.resize(odd_ * odd_);
  for (size_t j = 0; j < odd_; ++j) {
    for (size_t k = 0; k < odd_; ++k) {
      const double angle = 2.0 * M_PI * static_cast<double>(j * k % odd_) / static_cast<double>(odd_);
      small_[j * odd_ + k] = (std::cos(angle) + std::sin(angle)) / std::sqrt(static_cast<double>(odd_));
    }
  }
}

void Rotation::apply(std::span<float> x) const {
  LOCI_ASSERT(x.size() == size(), "a vector of the rotation's size");
  const size_t n = size(), powers = n / odd_;
  std::vector<double> y(n);
  for (size_t i = 0; i < n; ++i) y[i] = x[i] * signs_[i];
  // Index i = (power of two) * odd + (odd): butterflies over the first part, the small matrix over the second.
  for (size_t half = 1; half < powers; half *= 2) {
    for (size_t first = 0; first < powers; first += 2 * half) {
      for (size_t i = first * odd_; i < (first + half) * odd_; ++i) {
        const double a = y[i], b = y[i + half * odd_];
        y[i] = a + b;
        y[i + half * odd_] = a - b;
      }
    }
  }
  const double norm = 1.0 / std::sqrt(static_cast<double>(powers));
  for (size_t p = 0; p < powers; ++p) {
    for (size_t k = 0; k < odd_; ++k) {
      double sum = 0;
      for (size_t j = 0; j < odd_; ++j) sum += y[p * odd_ + j] * small_[j * odd_ + k];
      x[p * odd_ + k] = static_cast<float>(sum * norm);
    }
  }
}

void Rotation::apply_to_rows(Matrix& m, ThreadPool& pool) const {
  pool.parallel_for(m.rows, [&](size_t row, int) { apply(m.span(row)); });
}

void Rotation::apply_to_columns(Matrix& m, ThreadPool& pool) const {
  Matrix t = transposed(m);
  apply_to_rows(t, pool);
  m = transposed(t);
}

}  // namespace loci
