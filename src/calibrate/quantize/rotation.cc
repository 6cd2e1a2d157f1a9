#include "calibrate/quantize/rotation.h"

#include <cmath>
#include <random>

#include "base/assert.h"
#include "ops/turn.h"

namespace loci {

Rotation::Rotation(size_t size) : signs_(size), odd_(odd_factor(size)), small_(hartley_matrix(odd_)) {
  std::mt19937 random(1);
  for (float& sign : signs_) sign = (random() & 1u) != 0 ? 1.0F : -1.0F;
}

void Rotation::apply(std::span<float> x) const {
  LOCI_ASSERT(x.size() == size(), "a vector of the rotation's size");
  const size_t n = size(), powers = n / odd_;
  std::vector<double> y(n);
  for (size_t i = 0; i < n; ++i) y[i] = x[i] * signs_[i];
  for (size_t half = 1; half < powers; half *= 2) {
    for (size_t first = 0; first < n; first += 2 * half) {
      for (size_t i = first; i < first + half; ++i) {
        const double a = y[i], b = y[i + half];
        y[i] = a + b;
        y[i + half] = a - b;
      }
    }
  }
  const double norm = 1.0 / std::sqrt(static_cast<double>(powers));
  for (size_t p = 0; p < powers; ++p) {
    for (size_t k = 0; k < odd_; ++k) {
      double sum = 0;
      for (size_t j = 0; j < odd_; ++j) sum += y[j * powers + p] * small_[j * odd_ + k];
      x[k * powers + p] = static_cast<float>(sum * norm);
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
