#include "calibrate/quantize/matrix.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <mutex>

extern "C" {
int openblas_get_parallel();
void openblas_set_num_threads(int threads);
}

namespace loci {
namespace {

constexpr size_t kGramBlock = 96;  // columns of a gram matrix, rows of an error, in a work item

using Index = Eigen::Index;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Stride = Eigen::OuterStride<>;
using Block = Eigen::Map<RowMajor, Eigen::Unaligned, Stride>;
using ConstBlock = Eigen::Map<const RowMajor, Eigen::Unaligned, Stride>;

Block block(float* data, size_t rows, size_t columns, size_t stride) {
  return {data, static_cast<Index>(rows), static_cast<Index>(columns), Stride(static_cast<Index>(stride))};
}
ConstBlock block(const float* data, size_t rows, size_t columns, size_t stride) {
  return {data, static_cast<Index>(rows), static_cast<Index>(columns), Stride(static_cast<Index>(stride))};
}

// Held while OpenBLAS multiplies, one product at a time in each of our workers. A build of it without threads has one
// buffer for all that call it, so there they take turns.
std::unique_lock<std::mutex> blas_turn() {
  static std::mutex mutex;
  static const bool one_at_a_time = [] {
    openblas_set_num_threads(1);
    return openblas_get_parallel() == 0;
  }();
  return one_at_a_time ? std::unique_lock(mutex) : std::unique_lock<std::mutex>();
}

size_t blocks_of(size_t count) { return (count + kGramBlock - 1) / kGramBlock; }

}  // namespace

Rows all_rows(Matrix& m) {
  return {m.data.data(), static_cast<uint32_t>(m.rows), static_cast<uint32_t>(m.columns),
          static_cast<uint32_t>(m.columns)};
}

Matrix transposed(const Matrix& m) {
  Matrix out(m.columns, m.rows);
  for (size_t i = 0; i < m.rows; ++i) {
    for (size_t k = 0; k < m.columns; ++k) out.row(k)[i] = m.row(i)[k];
  }
  return out;
}

void add_gram(const Rows& x, Matrix& gram, ThreadPool& pool) {
  const size_t n = gram.columns;
  pool.parallel_for(blocks_of(n), [&](size_t item, int) {
    const size_t first = item * kGramBlock, count = std::min(kGramBlock, n - first);
    const float* from = x.data + first;
    const auto turn = blas_turn();
    block(gram.row(first) + first, count, n - first, n).noalias() +=
        block(from, x.rows, count, x.stride).transpose() * block(from, x.rows, n - first, x.stride);
  });
}

void add_product(const Rows& x, const Rows& y, Matrix& product, ThreadPool& pool) {
  const size_t n = product.columns;
  pool.parallel_for(blocks_of(product.rows), [&](size_t item, int) {
    const size_t first = item * kGramBlock, count = std::min(kGramBlock, product.rows - first);
    const auto turn = blas_turn();
    block(product.row(first), count, n, n).noalias() +=
        block(x.data + first, x.rows, count, x.stride).transpose() * block(y.data, y.rows, n, y.stride);
  });
}

void mirror(Matrix& gram) {
  for (size_t i = 0; i < gram.rows; ++i) {
    for (size_t k = i + 1; k < gram.columns; ++k) gram.row(k)[i] = gram.row(i)[k];
  }
}

double gram_norm(const Matrix& error, const Matrix& gram, ThreadPool& pool, std::span<double> out) {
  const size_t n = gram.columns;
  std::vector<double> norms(error.rows);
  std::vector<Matrix> products(static_cast<size_t>(pool.size()), Matrix(kGramBlock, n));
  pool.parallel_for(blocks_of(error.rows), [&](size_t item, int worker) {
    const size_t first = item * kGramBlock, count = std::min(kGramBlock, error.rows - first);
    Matrix& product = products[static_cast<size_t>(worker)];
    {
      const auto turn = blas_turn();
      block(product.data.data(), count, n, n).noalias() =
          block(error.row(first), count, n, n) * block(gram.data.data(), n, n, n);
    }
    for (size_t i = 0; i < count; ++i) {
      double sum = 0;
      for (size_t k = 0; k < n; ++k) sum += double{product.row(i)[k]} * error.row(first + i)[k];
      norms[first + i] = sum;
    }
  });
  double total = 0;
  for (const double norm : norms) total += norm;
  std::copy_n(norms.begin(), out.size(), out.begin());
  return total;
}

// In double: gram matrices with directions that inputs hardly take are badly conditioned. With the order of rows and
// columns turned around, symmetric = M M^T for an upper M, so that the inverse is U^T U for U = M^-1.
Result<Matrix> inverse_factor(const Matrix& symmetric) {
  const auto n = static_cast<Index>(symmetric.rows);
  const auto turn = blas_turn();
  const Eigen::MatrixXd turned = block(symmetric.data.data(), symmetric.rows, symmetric.rows, symmetric.rows)
                                     .cast<double>()
                                     .colwise()
                                     .reverse()
                                     .rowwise()
                                     .reverse();
  const Eigen::LLT<Eigen::MatrixXd> cholesky(turned);
  if (cholesky.info() != Eigen::Success) {
    return fail(ErrorCode::kCorrupt,
                "the products of calibration inputs ({} x {}) are not positive definite; take more text (--sequences)",
                n, n);
  }
  const Eigen::MatrixXd inverse = cholesky.matrixL().solve(Eigen::MatrixXd::Identity(n, n));
  Matrix out(symmetric.rows, symmetric.columns);
  for (Index i = 0; i < n; ++i) {
    for (Index k = i; k < n; ++k) {
      out.row(static_cast<size_t>(i))[k] = static_cast<float>(inverse(n - 1 - i, n - 1 - k));
    }
  }
  return out;
}

Result<Matrix> solve_damped(const Matrix& symmetric, double damping, const Matrix& right) {
  const auto n = static_cast<Index>(symmetric.rows);
  const auto turn = blas_turn();
  Eigen::MatrixXd damped = block(symmetric.data.data(), symmetric.rows, symmetric.rows, symmetric.rows).cast<double>();
  const double mean = damped.diagonal().mean();
  damped.diagonal().array() += mean > 0 ? damping * mean : 1.0;
  const Eigen::LLT<Eigen::MatrixXd> cholesky(damped);
  if (cholesky.info() != Eigen::Success) {
    return fail(ErrorCode::kCorrupt, "the products of calibration inputs ({} x {}) are not positive definite", n, n);
  }
  const Eigen::MatrixXd solved =
      cholesky.solve(block(right.data.data(), right.rows, right.columns, right.columns).cast<double>().transpose());
  Matrix out(right.rows, right.columns);
  block(out.data.data(), out.rows, out.columns, out.columns) = solved.transpose().cast<float>();
  return out;
}

Matrix outputs_of(const Rows& x, const Matrix& w, ThreadPool& pool) {
  Matrix out(x.rows, w.rows);
  pool.parallel_for(blocks_of(x.rows), [&](size_t item, int) {
    const size_t first = item * kGramBlock, count = std::min(kGramBlock, x.rows - first);
    const auto turn = blas_turn();
    block(out.row(first), count, w.rows, w.rows).noalias() =
        block(x.row(first), count, x.width, x.stride) * block(w.data.data(), w.rows, w.columns, w.columns).transpose();
  });
  return out;
}

void add_product_of(const Matrix& a, const Matrix& b, Matrix& to, ThreadPool& pool) {
  pool.parallel_for(blocks_of(a.rows), [&](size_t item, int) {
    const size_t first = item * kGramBlock, count = std::min(kGramBlock, a.rows - first);
    const auto turn = blas_turn();
    block(to.row(first), count, to.columns, to.columns).noalias() +=
        block(a.row(first), count, a.columns, a.columns) * block(b.data.data(), b.rows, b.columns, b.columns);
  });
}

void subtract_product(size_t rows, size_t depth, size_t count, const float* errors, size_t errors_stride,
                      const float* factor, size_t factor_stride, float* to, size_t to_stride) {
  const auto turn = blas_turn();
  block(to, rows, count, to_stride).noalias() -=
      block(errors, rows, depth, errors_stride) * block(factor, depth, count, factor_stride);
}

}  // namespace loci
