#include "calibrate/quantize/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ops/op_fixture.h"
#include "ops/turn.h"

namespace loci {
namespace {

Matrix identity(size_t n) {
  Matrix out(n, n);
  for (size_t i = 0; i < n; ++i) out.row(i)[i] = 1;
  return out;
}

class RotationOfSize : public testing::TestWithParam<size_t> {};

TEST_P(RotationOfSize, RowsAndColumnsAreOrthonormal) {
  const size_t n = GetParam();
  const Rotation rotation(n);
  ThreadPool pool(2);
  Matrix r = identity(n);
  rotation.apply_to_rows(r, pool);
  Matrix back = r;
  rotation.apply_to_columns(back, pool);  // R^T R
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < n; ++k) ASSERT_NEAR(back.row(i)[k], i == k ? 1 : 0, 2e-6) << i << " " << k;
  }
}

// One channel of 1 is felt everywhere and nowhere much.
TEST_P(RotationOfSize, NoEntryIsLarge) {
  const size_t n = GetParam();
  const Rotation rotation(n);
  ThreadPool pool(1);
  Matrix r = identity(n);
  rotation.apply_to_rows(r, pool);
  const double bound = std::sqrt((odd_factor(n) == 1 ? 1.0 : 2.0) / static_cast<double>(n)) * 1.0001;
  for (const float x : r.data) EXPECT_LE(std::fabs(x), bound);
}

// Powers of two, SmolLM2, Gemma 3, and sizes with odd factors that are no primes.
INSTANTIATE_TEST_SUITE_P(Sizes, RotationOfSize, testing::Values(1, 8, 64, 96, 256, 576, 640));

// The engine multiplies rows whose signs have been changed.
TEST_P(RotationOfSize, IsWhatTheEngineTurnsInputsWith) {
  const size_t n = GetParam();
  const Rotation rotation(n);
  test::OpFixture f(1, best_isa());
  test::Rng rng(3);
  const std::vector<float> x = test::normals(rng, n);
  std::vector<float> offline = x, online = x;
  rotation.apply(offline);
  for (size_t i = 0; i < n; ++i) online[i] *= rotation.signs()[i];
  const auto width = static_cast<uint32_t>(n);
  (*InputTurn::of_width(width))(f.context, {online.data(), 1, width, width});
  for (size_t i = 0; i < n; ++i) EXPECT_NEAR(online[i], offline[i], 5e-6) << i;
}

}  // namespace
}  // namespace loci
