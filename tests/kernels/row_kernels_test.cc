// Norm, gated activations and rotation: kernels of one row, against double precision and across instruction sets.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu/activation/gated.h"
#include "kernels/cpu/norm/rms_norm.h"
#include "kernels/cpu/rope/rotate.h"
#include "kernels/cpu/turn/turn.h"
#include "kernels/random_tensor.h"

namespace loci {
namespace {

constexpr size_t kWidths[] = {1, 7, 15, 16, 17, 64, 172, 576, 1536};

TEST(RmsNormRow, MatchesDoublePrecision) {
  test::Rng rng(41);
  for (size_t width : kWidths) {
    const std::vector<float> x = test::normals(rng, width, 5), w = test::normals(rng, width);
    std::vector<float> out(width);
    rms_norm_row(Isa::kScalar)(x.data(), w.data(), 1e-5F, width, out.data());
    double sum = 0;
    for (float v : x) sum += double{v} * v;
    const double factor = 1 / std::sqrt(sum / static_cast<double>(width) + 1e-5);
    for (size_t i = 0; i < width; ++i) EXPECT_NEAR(out[i], x[i] * factor * w[i], 1e-6 * std::fabs(out[i]) + 1e-12);
  }
}

TEST(RmsNormRow, EveryInstructionSetGivesTheSameBits) {
  test::Rng rng(42);
  for (size_t width : kWidths) {
    const std::vector<float> x = test::normals(rng, width, 5), w = test::normals(rng, width);
    std::vector<float> expected(width);
    rms_norm_row(Isa::kScalar)(x.data(), w.data(), 1e-6F, width, expected.data());
    for (Isa isa : supported_isas()) {
      std::vector<float> in_place = x;
      in_place.push_back(3.0F);
      rms_norm_row(isa)(in_place.data(), w.data(), 1e-6F, width, in_place.data());
      EXPECT_TRUE(test::same_bits(std::span(in_place).first(width), expected)) << to_string(isa) << " " << width;
      EXPECT_EQ(in_place.back(), 3.0F);
    }
  }
}

TEST(RmsNormRow, ZerosStayZeros) {
  const std::vector<float> x(64, 0.0F), w(64, 1.0F);
  for (Isa isa : supported_isas()) {
    std::vector<float> out(64, 1.0F);
    rms_norm_row(isa)(x.data(), w.data(), 1e-5F, 64, out.data());
    EXPECT_EQ(out, x);
  }
}

// Any matrix may stand where blocks meet.
struct TurnCase {
  uint32_t powers, odd;
};
constexpr TurnCase kTurns[] = {{1, 1},  {1, 5},  {2, 3},   {8, 1},   {8, 9},   {16, 1},
                               {32, 3}, {64, 9}, {128, 5}, {512, 3}, {2048, 1}};

TEST(TurnRow, MatchesTheMatrixInDoublePrecision) {
  test::Rng rng(44);
  for (const auto& [powers, odd] : kTurns) {
    const uint32_t width = powers * odd;
    const std::vector<float> x = test::normals(rng, width), small = test::normals(rng, size_t{odd} * odd);
    std::vector<float> out = x;
    turn_row(Isa::kScalar)({powers, odd, small.data()}, out.data());
    for (uint32_t to = 0; to < width; to += 1 + width / 50) {
      double sum = 0;
      for (uint32_t from = 0; from < width; ++from) {
        const int sign = __builtin_parity((from % powers) & (to % powers)) != 0 ? -1 : 1;
        sum += sign * double{small[to / powers * odd + from / powers]} * x[from];
      }
      ASSERT_NEAR(out[to], sum, 1e-5 * std::sqrt(width) * (1 + std::fabs(sum))) << powers << " x " << odd << " " << to;
    }
  }
}

TEST(TurnRow, EveryInstructionSetGivesTheSameBits) {
  test::Rng rng(45);
  for (const auto& [powers, odd] : kTurns) {
    const std::vector<float> x = test::normals(rng, size_t{powers} * odd, 5);
    const std::vector<float> small = test::normals(rng, size_t{odd} * odd);
    const TurnShape shape{powers, odd, small.data()};
    std::vector<float> expected = x;
    turn_row(Isa::kScalar)(shape, expected.data());
    for (Isa isa : supported_isas()) {
      std::vector<float> out = x;
      out.push_back(3.0F);
      turn_row(isa)(shape, out.data());
      EXPECT_TRUE(test::same_bits(std::span(out).first(x.size()), expected)) << to_string(isa) << " " << powers;
      EXPECT_EQ(out.back(), 3.0F);
    }
  }
}

double silu(double v) { return v / (1 + std::exp(-v)); }
double gelu_tanh(double v) {
  return 0.5 * v * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v)));
}

TEST(GatedRow, MatchesDoublePrecision) {
  std::vector<float> gate, up;
  for (float v = -30; v < 30; v += 0.01F) gate.push_back(v);
  gate.insert(gate.end(), {-1e4F, 1e4F, -88.5F, 0.0F, -100.0F, 1e30F, -1e30F});
  up.assign(gate.size(), 1.5F);
  std::vector<float> out(gate.size());
  silu_mul_row(Isa::kScalar)(gate.data(), up.data(), gate.size(), out.data());
  for (size_t i = 0; i < gate.size(); ++i)
    EXPECT_NEAR(out[i] / 1.5, silu(gate[i]), 4e-7 * std::fabs(silu(gate[i])) + 1e-36);
  gelu_tanh_mul_row(Isa::kScalar)(gate.data(), up.data(), gate.size(), out.data());
  for (size_t i = 0; i < gate.size(); ++i) {
    // Where gelu is tiny the reference's 1 + tanh cancels; the sum is what counts.
    EXPECT_NEAR(out[i] / 1.5, gelu_tanh(gate[i]), 2e-6 * std::fabs(gelu_tanh(gate[i])) + 1e-14) << gate[i];
  }
}

TEST(GatedRow, EveryInstructionSetGivesTheSameBits) {
  test::Rng rng(43);
  for (size_t width : kWidths) {
    const std::vector<float> gate = test::normals(rng, width, 20), up = test::normals(rng, width);
    for (auto kernel : {silu_mul_row, gelu_tanh_mul_row}) {
      std::vector<float> expected(width);
      kernel(Isa::kScalar)(gate.data(), up.data(), width, expected.data());
      for (Isa isa : supported_isas()) {
        std::vector<float> out(width + 1, 3.0F);
        kernel(isa)(gate.data(), up.data(), width, out.data());
        EXPECT_TRUE(test::same_bits(std::span(out).first(width), expected)) << to_string(isa) << " " << width;
        EXPECT_EQ(out.back(), 3.0F);
      }
    }
  }
}

struct Angles {
  std::vector<float> cosines, sines;
  Angles(test::Rng& rng, size_t half) {
    for (size_t i = 0; i < half; ++i) {
      const double angle = 10 * test::normal(rng);
      cosines.push_back(static_cast<float>(std::cos(angle)));
      sines.push_back(static_cast<float>(std::sin(angle)));
    }
  }
};

TEST(RotateHead, TurnsPairs) {
  test::Rng rng(44);
  for (size_t half : {1u, 5u, 16u, 32u, 43u, 128u}) {
    const Angles angles(rng, half);
    const std::vector<float> x = test::normals(rng, 2 * half + 3);
    for (bool adjacent : {true, false}) {
      std::vector<float> out = x;
      (adjacent ? rotate_adjacent : rotate_halves)(Isa::kScalar)(out.data(), angles.cosines.data(), angles.sines.data(),
                                                                 half);
      for (size_t i = 0; i < half; ++i) {
        const size_t a = adjacent ? 2 * i : i, b = adjacent ? 2 * i + 1 : i + half;
        const double c = angles.cosines[i], s = angles.sines[i];
        EXPECT_NEAR(out[a], x[a] * c - x[b] * s, 1e-6);
        EXPECT_NEAR(out[b], x[a] * s + x[b] * c, 1e-6);
      }
      for (size_t i = 2 * half; i < x.size(); ++i) EXPECT_EQ(out[i], x[i]);
    }
  }
}

TEST(RotateHead, EveryInstructionSetGivesTheSameBits) {
  test::Rng rng(45);
  for (size_t half = 1; half < 70; ++half) {
    const Angles angles(rng, half);
    const std::vector<float> x = test::normals(rng, 2 * half + 3);
    for (auto kernel : {rotate_adjacent, rotate_halves}) {
      std::vector<float> expected = x;
      kernel(Isa::kScalar)(expected.data(), angles.cosines.data(), angles.sines.data(), half);
      for (Isa isa : supported_isas()) {
        std::vector<float> out = x;
        kernel(isa)(out.data(), angles.cosines.data(), angles.sines.data(), half);
        EXPECT_TRUE(test::same_bits(out, expected)) << to_string(isa) << " half " << half;
      }
    }
  }
}

}  // namespace
}  // namespace loci
