#include "calibrate/quantize/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace loci {
namespace {

Matrix random_matrix(size_t rows, size_t columns, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix out(rows, columns);
  for (float& x : out.data) x = normal(random);
  return out;
}

// Inputs whose channels differ much, and follow each other: [samples, columns].
Matrix uneven_inputs(size_t samples, size_t columns, uint32_t seed) {
  Matrix x = random_matrix(samples, columns, seed);
  for (size_t t = 0; t < samples; ++t) {
    for (size_t k = 1; k < columns; ++k) x.row(t)[k] = 0.7F * x.row(t)[k - 1] + 0.7F * x.row(t)[k];
    for (size_t k = 0; k < columns; k += 11) x.row(t)[k] *= 20;
  }
  return x;
}

Matrix gram_of(Matrix& x, ThreadPool& pool) {
  Matrix out(x.columns, x.columns);
  add_gram({x.data.data(), static_cast<uint32_t>(x.rows), static_cast<uint32_t>(x.columns),
            static_cast<uint32_t>(x.columns)},
           out, pool);
  mirror(out);
  return out;
}

double error_of(const Matrix& w, const RoundedMatrix& rounded, const Matrix& gram, ThreadPool& pool) {
  return gram_norm(rounding_error(w, rounded, pool), gram, pool);
}

constexpr DType kFormats[] = {DType::kW4Row, DType::kW4G32, DType::kW4G64, DType::kW4G128, DType::kW8Row};

TEST(Gram, EqualsTheSumOfProducts) {
  ThreadPool pool(2);
  Matrix x = random_matrix(30, 200, 1);
  const Matrix gram = gram_of(x, pool);
  for (size_t i = 0; i < 200; i += 17) {
    for (size_t k = 0; k < 200; k += 13) {
      double sum = 0;
      for (size_t t = 0; t < 30; ++t) sum += double{x.row(t)[i]} * x.row(t)[k];
      EXPECT_NEAR(gram.row(i)[k], sum, 1e-4);
    }
  }
  // The norm of outputs, from the gram matrix and from the outputs themselves.
  const Matrix w = random_matrix(5, 200, 2);
  double squares = 0;
  for (size_t t = 0; t < 30; ++t) {
    for (size_t r = 0; r < 5; ++r) {
      double y = 0;
      for (size_t k = 0; k < 200; ++k) y += double{w.row(r)[k]} * x.row(t)[k];
      squares += y * y;
    }
  }
  EXPECT_NEAR(gram_norm(w, gram, pool) / squares, 1, 1e-5);
}

TEST(InverseFactor, MultipliesToTheInverse) {
  ThreadPool pool(1);
  Matrix x = random_matrix(60, 24, 3);
  const Matrix gram = gram_of(x, pool);
  const Result<Matrix> factor = inverse_factor(gram);
  ASSERT_TRUE(factor.ok());
  for (size_t i = 0; i < 24; ++i) {
    for (size_t k = 0; k < 24; ++k) {
      double sum = 0;  // (U^T U) gram
      for (size_t j = 0; j < 24; ++j) {
        for (size_t m = 0; m < 24; ++m) sum += double{factor->row(m)[i]} * factor->row(m)[j] * gram.row(j)[k];
      }
      EXPECT_NEAR(sum, i == k ? 1 : 0, 1e-3);
    }
  }
  EXPECT_EQ(inverse_factor(Matrix(3, 3)).error().code, ErrorCode::kCorrupt);
}

// Of all changes D of the weights, W (S (G + damping)^-1) brings outputs over y nearest to those over x.
TEST(SolveDamped, GivesTheLeastSquaresCorrection) {
  ThreadPool pool(2);
  Matrix x = random_matrix(300, 40, 21), y = x;
  std::mt19937 random(22);
  std::normal_distribution<float> normal(0, 0.3F);
  for (size_t t = 0; t < y.rows; ++t) {
    for (size_t k = 0; k < 40; ++k) y.row(t)[k] = 0.8F * x.row(t)[k] + 0.2F * x.row(t)[(k + 1) % 40] + normal(random);
  }
  Matrix off = x, shift(40, 40);
  for (size_t i = 0; i < off.data.size(); ++i) off.data[i] -= y.data[i];
  const auto rows_of = [](Matrix& m) {
    return Rows{m.data.data(), static_cast<uint32_t>(m.rows), static_cast<uint32_t>(m.columns),
                static_cast<uint32_t>(m.columns)};
  };
  add_product(rows_of(off), rows_of(y), shift, pool);
  const Matrix w = random_matrix(6, 40, 23);
  const auto error = [&](const Matrix& by) {
    double sum = 0;
    for (size_t t = 0; t < x.rows; ++t) {
      for (size_t r = 0; r < w.rows; ++r) {
        double out = 0;
        for (size_t k = 0; k < 40; ++k) out += double{w.row(r)[k]} * x.row(t)[k] - double{by.row(r)[k]} * y.row(t)[k];
        sum += out * out;
      }
    }
    return sum;
  };
  Matrix corrected = w;
  add_product_of(w, *solve_damped(gram_of(y, pool), 1e-9, shift), corrected, pool);
  const double least = error(corrected);
  EXPECT_LT(least, 0.9 * error(w));
  for (const float by : {-0.02F, 0.02F}) {
    for (size_t k = 0; k < 40; k += 7) {
      Matrix other = corrected;
      other.row(k % 6)[k] += by;
      EXPECT_GT(error(other), least);
    }
  }
  EXPECT_EQ(solve_damped(Matrix(3, 3), 0, Matrix(3, 3)).ok(), true) << "nothing was seen: nothing is corrected";
}

// What is written is read back as what was rounded to, and no integer leaves its range.
TEST(Rounding, StoredRowsAreTheRoundedOnes) {
  ThreadPool pool(2);
  const Matrix w = random_matrix(20, 256, 4);
  for (const DType dtype : {DType::kW4Row, DType::kW4G32, DType::kW4G64, DType::kW4G128, DType::kW8Row, DType::kQ4_1}) {
    const RoundedMatrix rounded = round_to_nearest(w, dtype, full_grids(w, dtype, 128, pool), pool);
    const std::vector<std::byte> bytes = rounded.bytes();
    const size_t stride = *row_bytes(dtype, 256);
    std::vector<float> row(256);
    for (size_t r = 0; r < w.rows; ++r) {
      EXPECT_TRUE(!is_row_scaled(dtype) || row_holds(dtype, bytes.data() + r * stride, 256));
      dequantize_row(dtype, bytes.data() + r * stride, row);
      for (size_t k = 0; k < 256; ++k) {
        ASSERT_FLOAT_EQ(row[k], rounded.grids[r].value(k, rounded.codes[r][k])) << info(dtype).name;
        // Half a step of the widest possible group, and what the ends of the range lose.
        ASSERT_NEAR(row[k], w.row(r)[k], dtype == DType::kW8Row ? 0.02 : 0.4) << info(dtype).name;
      }
    }
  }
}

TEST(Rounding, RowsOfZerosStayZeros) {
  ThreadPool pool(1);
  const Matrix w(2, 128);
  for (const DType dtype : kFormats) {
    const RoundedMatrix rounded = round_to_nearest(w, dtype, full_grids(w, dtype, 0, pool), pool);
    std::vector<float> row(128, 1.0F);
    dequantize_row(dtype, rounded.bytes().data(), row);
    for (const float x : row) EXPECT_EQ(x, 0.0F) << info(dtype).name;
  }
}

// Weights with channels that are larger than the rest: narrower groups lose less.
TEST(Rounding, NarrowerGroupsLoseLess) {
  ThreadPool pool(2);
  Matrix w = random_matrix(64, 512, 5);
  for (size_t r = 0; r < w.rows; ++r) {
    for (size_t k = 7; k < 512; k += 97) w.row(r)[k] *= 8;
  }
  Matrix x = random_matrix(600, 512, 6);
  const Matrix gram = gram_of(x, pool);
  double before = std::numeric_limits<double>::infinity();
  for (const DType dtype : {DType::kW4Row, DType::kW4G128, DType::kW4G64, DType::kW4G32, DType::kW8Row}) {
    const double error = error_of(w, round_to_nearest(w, dtype, full_grids(w, dtype, 0, pool), pool), gram, pool);
    EXPECT_LT(error, before) << info(dtype).name;
    before = error;
  }
}

TEST(Rounding, FittedRangesNeverLoseAndCompensationGains) {
  ThreadPool pool(2);
  const Matrix w = random_matrix(100, 256, 7);
  Matrix x = uneven_inputs(700, 256, 8);
  const Matrix gram = gram_of(x, pool);
  // What columns weigh by their mean squares: inputs that have nothing to do with each other.
  Matrix diagonal(256, 256);
  for (size_t k = 0; k < 256; ++k) diagonal.row(k)[k] = gram.row(k)[k];
  for (const DType dtype : kFormats) {
    const std::vector<RowGrid> full = full_grids(w, dtype, 0, pool);
    const std::vector<RowGrid> fitted = *fitted_grids(w, dtype, 0, gram, false, pool);
    EXPECT_LE(error_of(w, round_to_nearest(w, dtype, fitted, pool), diagonal, pool),
              error_of(w, round_to_nearest(w, dtype, full, pool), diagonal, pool) * 1.0001)
        << info(dtype).name;
    const double nearest = error_of(w, round_to_nearest(w, dtype, full, pool), gram, pool);
    for (const std::vector<RowGrid>& grids : {full, *fitted_grids(w, dtype, 0, gram, true, pool)}) {
      const Result<RoundedMatrix> gptq = round_compensated(w, dtype, grids, gram, pool);
      ASSERT_TRUE(gptq.ok());
      EXPECT_LT(error_of(w, *gptq, gram, pool), 0.8 * nearest) << info(dtype).name;
      const std::vector<std::byte> bytes = gptq->bytes();
      const size_t stride = *row_bytes(dtype, 256);
      for (size_t r = 0; r < w.rows; ++r) EXPECT_TRUE(row_holds(dtype, bytes.data() + r * stride, 256));
    }
  }
}

struct Problem {
  Matrix w, gram;
};

// Weights, and what inputs with uneven columns look like.
Problem uneven_problem(ThreadPool& pool) {
  Matrix x = uneven_inputs(500, 256, 12);
  return {random_matrix(70, 256, 11), gram_of(x, pool)};
}

// Every change lowers the damped error, so none is undone, and another pass has little left to do.
TEST(Rounding, RefiningCodesGainsUntilThereIsNothingToGain) {
  ThreadPool pool(2);
  const auto [w, gram] = uneven_problem(pool);
  for (const DType dtype : kFormats) {
    RoundedMatrix rounded = *round_compensated(w, dtype, full_grids(w, dtype, 0, pool), gram, pool);
    const double before = error_of(w, rounded, gram, pool);
    refine(w, gram, 30, 0, rounded, pool);
    const double after = error_of(w, rounded, gram, pool);
    EXPECT_LT(after, before) << info(dtype).name;
    const std::vector<std::byte> settled = rounded.bytes();
    refine(w, gram, 1, 0, rounded, pool);
    EXPECT_EQ(rounded.bytes(), settled) << info(dtype).name;
  }
}

TEST(Rounding, FittedScalesGain) {
  ThreadPool pool(2);
  const auto [w, gram] = uneven_problem(pool);
  for (const DType dtype : kFormats) {
    RoundedMatrix plain = round_to_nearest(w, dtype, full_grids(w, dtype, 0, pool), pool), fitted = plain;
    refine(w, gram, 30, 0, plain, pool);
    refine(w, gram, 30, 2, fitted, pool);
    EXPECT_LT(error_of(w, fitted, gram, pool), error_of(w, plain, gram, pool)) << info(dtype).name;
  }
}

TEST(Rounding, IsTheSameWithAnyNumberOfThreads) {
  ThreadPool one(1), three(3);
  const Matrix w = random_matrix(150, 192, 9);
  Matrix x = uneven_inputs(400, 192, 10);
  const Matrix gram = gram_of(x, one), gram_of_three = gram_of(x, three);
  EXPECT_EQ(gram.data, gram_of_three.data);
  const DType dtype = DType::kW4G64;
  const auto bytes_with = [&](ThreadPool& pool) {
    RoundedMatrix out = *round_compensated(w, dtype, *fitted_grids(w, dtype, 0, gram, true, pool), gram, pool);
    refine(w, gram, 2, 2, out, pool);
    return out.bytes();
  };
  EXPECT_EQ(bytes_with(one), bytes_with(three));
}

}  // namespace
}  // namespace loci
