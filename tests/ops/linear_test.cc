#include "ops/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ops/op_fixture.h"

namespace loci {
namespace {

using test::Matrix;
using test::OpFixture;

PackedMatrix pack(const test::StoredTensor& t, Activations activations, int threads = 1) {
  ThreadPool pool(threads);
  return std::move(PackedMatrix::pack(t.tensor, activations, pool)).value();
}

Linear linear(test::Rng& rng, DType dtype, size_t rows, size_t columns, Activations a = Activations::kInt8) {
  std::vector<PackedMatrix> parts;
  parts.push_back(pack(test::random_tensor(rng, dtype, rows, columns), a));
  return Linear(std::move(parts), a);
}

class LinearEveryType : public testing::TestWithParam<DType> {};

// The promise that everything bit for bit stands on.
void expect_rows_alike(DType dtype, Activations activations) {
  test::Rng rng(51);
  for (size_t outputs : {17u, 172u}) {
    const size_t columns = 256;
    const Linear w = linear(rng, dtype, outputs, columns, activations);
    Matrix x(rng, 512, columns, 3);
    for (Isa isa : supported_isas()) {
      OpFixture one(1, isa), two(2, isa);
      Matrix alone(512, outputs);
      for (size_t r = 0; r < 512; ++r) w.project(one.context, x.view(r, 1), alone.view(r, 1));
      for (size_t rows = 1; rows <= 34; ++rows) {
        const size_t count = rows == 34 ? 512 : rows;
        const size_t first = (rows * 7) % (513 - count);
        for (OpFixture* f : {&one, &two}) {
          Matrix out(count, outputs, 2);
          w.project(f->context, x.view(first, count), out.view());
          for (size_t r = 0; r < count; ++r) {
            ASSERT_TRUE(test::same_bits(out.row(r), alone.row(first + r)))
                << info(dtype).name << " " << to_string(isa) << " rows " << count << " row " << r << " threads "
                << f->pool.size();
          }
          ASSERT_TRUE(out.gaps_intact());
        }
      }
    }
  }
}

TEST_P(LinearEveryType, RowOfAManyRowProductEqualsTheRowAlone) { expect_rows_alike(GetParam(), Activations::kInt8); }
TEST_P(LinearEveryType, RowOfAManyRowProductOfTwoTermsEqualsTheRowAlone) {
  expect_rows_alike(GetParam(), Activations::kInt16);
}

TEST_P(LinearEveryType, EveryInstructionSetGivesTheSameBits) {
  for (const Activations activations : {Activations::kInt8, Activations::kInt16}) {
    test::Rng rng(52);
    const size_t columns = 512, outputs = 50;
    const Linear w = linear(rng, GetParam(), outputs, columns, activations);
    Matrix x(rng, 29, columns);
    Matrix expected(29, outputs);
    OpFixture scalar(1, Isa::kScalar);
    w.project(scalar.context, x.view(), expected.view());
    for (Isa isa : supported_isas()) {
      OpFixture f(2, isa);
      Matrix out(29, outputs);
      w.project(f.context, x.view(), out.view());
      EXPECT_TRUE(test::same_bits(out.data(), expected.data())) << to_string(isa);
    }
  }
}

// The whole way: stored numbers times activations in double, against the product with rounded activations. Rounding an
// activation moves it by up to 1/254 of its block's largest; the errors are independent, so their sum grows with the
// root.
TEST_P(LinearEveryType, ErrorAgainstStoredWeightsIsThatOfRounding) {
  test::Rng rng(53);
  const size_t columns = 1024, outputs = 32;
  const test::StoredTensor t = test::random_tensor(rng, GetParam(), outputs, columns);
  Matrix x(rng, 4, columns);
  for (Activations activations : {Activations::kInt8, Activations::kInt16, Activations::kF32}) {
    std::vector<PackedMatrix> parts;
    parts.push_back(pack(t, activations));
    const Linear w(std::move(parts), activations);
    OpFixture f(2, best_isa());
    Matrix out(4, outputs);
    w.project(f.context, x.view(), out.view());
    const bool integer = info(w.parts()[0].layout()).integer;
    double error = 0, size = 0;
    for (size_t r = 0; r < 4; ++r) {
      for (size_t n = 0; n < outputs; ++n) {
        const std::vector<float> row = t.row(n);
        double sum = 0;
        for (size_t k = 0; k < columns; ++k) sum += double{row[k]} * x.row(r)[k];
        error += (out.row(r)[n] - sum) * (out.row(r)[n] - sum);
        size += sum * sum;
      }
    }
    const double relative = std::sqrt(error / size);
    // 16 bits: a step of 0.022 of the mean moves a normal activation by 0.022 * 0.8 / sqrt(12) of its deviation.
    const bool eight_bits = activations == Activations::kInt8 || w.parts()[0].exact();
    const double bound = !integer ? 1e-6 : eight_bits ? 0.012 : 0.006;
    EXPECT_LT(relative, bound) << info(GetParam()).name;
  }
}

TEST_P(LinearEveryType, PlannedBytesAreTheBytes) {
  test::Rng rng(54);
  for (size_t rows : {1u, 16u, 17u, 172u}) {
    const size_t columns = test::whole_blocks(GetParam(), 172);
    const test::StoredTensor t = test::random_tensor(rng, GetParam(), rows, columns);
    for (Activations a : {Activations::kInt8, Activations::kF32}) {
      EXPECT_EQ(pack(t, a).bytes(), PackedMatrix::planned_bytes(GetParam(), rows, columns, a));
    }
  }
}

TEST_P(LinearEveryType, PackingIsTheSameWithTwoThreads) {
  test::Rng rng(55);
  const size_t columns = test::whole_blocks(GetParam(), 64);
  const test::StoredTensor t = test::random_tensor(rng, GetParam(), 100, columns);
  const PackedMatrix one = pack(t, Activations::kInt8, 1), two = pack(t, Activations::kInt8, 2);
  ASSERT_EQ(one.bytes(), two.bytes());
  EXPECT_EQ(std::memcmp(one.panel(0), two.panel(0), one.bytes()), 0);
}

std::string type_name(const testing::TestParamInfo<DType>& p) { return std::string(info(p.param).name); }

INSTANTIATE_TEST_SUITE_P(Types, LinearEveryType, testing::ValuesIn(all_dtypes().begin(), all_dtypes().end()),
                         type_name);

TEST(Linear, FinerRoundingHalvesTheError) {
  test::Rng rng(63);
  const test::StoredTensor t = test::random_tensor(rng, DType::kQ8_0, 64, 512);
  Matrix x(rng, 4, 512);
  double error[2] = {0, 0};
  for (const bool finer : {false, true}) {
    std::vector<PackedMatrix> parts;
    parts.push_back(pack(t, Activations::kInt16));
    Linear w(std::move(parts), Activations::kInt16);
    if (finer) w.round_finer();
    OpFixture f(1, best_isa());
    Matrix out(4, 64);
    w.project(f.context, x.view(), out.view());
    for (size_t r = 0; r < 4; ++r) {
      for (size_t n = 0; n < 64; ++n) {
        const std::vector<float> row = t.row(n);
        double sum = 0;
        for (size_t k = 0; k < 512; ++k) sum += double{row[k]} * x.row(r)[k];
        error[finer] += std::fabs(out.row(r)[n] - sum);
      }
    }
  }
  EXPECT_LT(error[1], 0.6 * error[0]);
}

TEST(Linear, FloatLayoutsTakeAnyNumberOfColumns) {
  test::Rng rng(56);
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (size_t columns : {1u, 64u, 172u}) {
      for (size_t rows : {1u, 15u, 17u, 172u}) {
        const test::StoredTensor t = test::random_tensor(rng, dtype, rows, columns);
        std::vector<PackedMatrix> parts;
        parts.push_back(pack(t, Activations::kInt8));
        const Linear w(std::move(parts));
        Matrix x(rng, 5, columns), out(5, rows);
        OpFixture f(2, best_isa());
        w.project(f.context, x.view(), out.view());
        for (size_t n = 0; n < rows; ++n) {
          const std::vector<float> row = t.row(n);
          double sum = 0;
          for (size_t k = 0; k < columns; ++k) sum += double{row[k]} * x.row(4)[k];
          EXPECT_NEAR(out.row(4)[n], sum, 1e-5);
        }
      }
    }
  }
}

TEST(Linear, PartsOfDifferentLayoutsShareTheirInput) {
  test::Rng rng(57);
  const size_t columns = 256;
  std::vector<PackedMatrix> parts;
  std::vector<Linear> alone;
  for (DType dtype : {DType::kQ4_K, DType::kQ6_K, DType::kF16, DType::kQ8_0}) {
    const test::StoredTensor t = test::random_tensor(rng, dtype, 40, columns);
    parts.push_back(pack(t, Activations::kInt8));
    std::vector<PackedMatrix> single;
    single.push_back(pack(t, Activations::kInt8));
    alone.emplace_back(std::move(single));
  }
  const Linear together(std::move(parts));
  Matrix x(rng, 131, columns);
  for (int threads : {1, 2, 3}) {
    OpFixture f(threads, best_isa());
    std::vector<Matrix> out(4, Matrix(131, 40));
    std::vector<Rows> views;
    for (Matrix& m : out) views.push_back(m.view());
    together.project(f.context, x.view(), views);
    for (size_t i = 0; i < 4; ++i) {
      Matrix expected(131, 40);
      alone[i].project(f.context, x.view(), expected.view());
      EXPECT_TRUE(test::same_bits(out[i].data(), expected.data())) << "part " << i << " threads " << threads;
    }
  }
}

TEST(Linear, ScratchIsWhatItSaysAndComesBack) {
  for (const Activations activations : {Activations::kInt8, Activations::kInt16}) {
    test::Rng rng(58);
    std::vector<PackedMatrix> parts;
    parts.push_back(pack(test::random_tensor(rng, DType::kQ4_1, 64, 96), activations));
    parts.push_back(pack(test::random_tensor(rng, DType::kF16, 64, 96), activations));
    const Linear w(std::move(parts), activations);
    for (size_t rows : {1u, 5u, 100u}) {
      OpFixture f(2, best_isa(), w.scratch_bytes(rows, 2));
      Matrix x(rng, rows, 96), a(rows, 64), b(rows, 64);
      std::vector<Rows> out = {a.view(), b.view()};
      w.project(f.context, x.view(), out);
      w.project(f.context, x.view(), out);  // would not fit if the first call had kept anything
      EXPECT_EQ(f.scratch.peak(), w.scratch_bytes(rows, 2));
      EXPECT_LE(w.scratch_bytes(rows, 2), Linear::scratch_bound(rows, 96, 2));
    }
  }
}

TEST(Linear, NoRowsNoWork) {
  test::Rng rng(59);
  const Linear w = linear(rng, DType::kQ8_0, 32, 64);
  OpFixture f(2, best_isa());
  Matrix x(rng, 1, 64), out(1, 32);
  w.project(f.context, x.view(0, 0), out.view(0, 0));
  EXPECT_EQ(out.data(), Matrix(1, 32).data()) << "an output was written";
}

TEST(Linear, HugeAndTinyInputsStayInProportion) {
  test::Rng rng(60);
  const Linear w = linear(rng, DType::kQ4_K, 32, 256);
  OpFixture f(1, best_isa());
  Matrix x(rng, 1, 256), out(1, 32);
  w.project(f.context, x.view(), out.view());
  for (int exponent : {-60, 60, 90}) {
    Matrix scaled = x;
    for (float& v : scaled.view().span(0)) v = std::ldexp(v, exponent);
    Matrix y(1, 32);
    w.project(f.context, scaled.view(), y.view());
    for (size_t n = 0; n < 32; ++n) EXPECT_NEAR(std::ldexp(y.row(0)[n], -exponent), out.row(0)[n], 1e-5) << exponent;
  }
}

TEST(PackedMatrix, RefusesTensorsThatContradictThemselves) {
  test::Rng rng(61);
  ThreadPool pool(1);
  test::StoredTensor t = test::random_tensor(rng, DType::kQ8_0, 4, 64);
  t.tensor.data = t.tensor.data.first(t.tensor.data.size() - 1);
  EXPECT_EQ(PackedMatrix::pack(t.tensor, Activations::kInt8, pool).error().code, ErrorCode::kCorrupt);
  t.tensor.data = t.bytes;
  t.tensor.shape = {4, 63};
  EXPECT_EQ(PackedMatrix::pack(t.tensor, Activations::kInt8, pool).error().code, ErrorCode::kCorrupt);
  t.tensor.shape = {0, 64};
  EXPECT_EQ(PackedMatrix::pack(t.tensor, Activations::kInt8, pool).error().code, ErrorCode::kCorrupt);
}

TEST(PackedMatrix, TellsWhichBytesAreDone) {
  test::Rng rng(62);
  ThreadPool pool(2);
  const test::StoredTensor t = test::random_tensor(rng, DType::kF32, 1500, 2048);  // 12 MB: several calls
  size_t done = 0;
  int calls = 0;
  const auto packed = [&](std::span<const std::byte> bytes) {
    EXPECT_EQ(bytes.data(), t.bytes.data() + done);
    done += bytes.size();
    ++calls;
  };
  ASSERT_TRUE(PackedMatrix::pack(t.tensor, Activations::kInt8, pool, packed).ok());
  EXPECT_EQ(done, t.bytes.size());
  EXPECT_GE(calls, 3);
}

}  // namespace
}  // namespace loci
