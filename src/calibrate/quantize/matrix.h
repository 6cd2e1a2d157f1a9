// Dense matrices of fp32 numbers and what weight quantization asks of linear algebra. The pool's workers take blocks
// whose borders depend on the shapes alone, so results do not depend on their number.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "tensor/rows.h"

namespace loci {

struct Matrix {
  size_t rows = 0;
  size_t columns = 0;
  std::vector<float> data;

  Matrix() = default;
  Matrix(size_t r, size_t c) : rows(r), columns(c), data(r * c) {}

  bool empty() const { return data.empty(); }
  float* row(size_t i) { return data.data() + i * columns; }
  const float* row(size_t i) const { return data.data() + i * columns; }
  std::span<float> span(size_t i) { return {row(i), columns}; }
  std::span<const float> span(size_t i) const { return {row(i), columns}; }
};

Rows all_rows(Matrix& m);
Matrix transposed(const Matrix& m);

// gram [n, n] += x^T x for rows x [any, n]. Only the upper triangle is kept up until `mirror`.
void add_gram(const Rows& x, Matrix& gram, ThreadPool& pool);
void mirror(Matrix& gram);
// product [x.width, y.width] += x^T y.
void add_product(const Rows& x, const Rows& y, Matrix& product, ThreadPool& pool);

// The sum over rows e of `error` of e gram e^T: what the rows' outputs are off by, squared, over all inputs that the
// gram matrix has seen. Row by row in `out` if it is not empty.
double gram_norm(const Matrix& error, const Matrix& gram, ThreadPool& pool, std::span<double> out = {});

// The upper Cholesky factor U of the inverse of a symmetric positive definite matrix: inverse = U^T U. kCorrupt if it
// is not positive definite.
Result<Matrix> inverse_factor(const Matrix& symmetric);

// The x [rows, n] with x (symmetric + damping * its mean diagonal) = `right` [rows, n]; in double. kCorrupt as above.
Result<Matrix> solve_damped(const Matrix& symmetric, double damping, const Matrix& right);

// x w^T: [x.rows, w.rows].
Matrix outputs_of(const Rows& x, const Matrix& w, ThreadPool& pool);

// to [rows, columns] += a [rows, n] b [n, columns].
void add_product_of(const Matrix& a, const Matrix& b, Matrix& to, ThreadPool& pool);

// to [rows, count] -= errors [rows, depth] * factor [depth, count]; strides in floats.
void subtract_product(size_t rows, size_t depth, size_t count, const float* errors, size_t errors_stride,
                      const float* factor, size_t factor_stride, float* to, size_t to_stride);

}  // namespace loci
