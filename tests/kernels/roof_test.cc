#include "kernels/cpu/roof/roof.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <vector>

namespace loci {
namespace {

constexpr RoofOptions kQuick{.buffer_bytes = size_t{8} << 20, .seconds_per_loop = 0.01};

TEST(Roof, EveryInstructionSetMeasuresSomethingPlausible) {
  ThreadPool pool(2);
  for (const Isa isa : supported_isas()) {
    const Result<Roof> roof = measure_roof(pool, isa, kQuick);
    ASSERT_TRUE(roof.ok()) << to_string(isa);
    for (const double rate : {roof->read_bytes_per_second, roof->read_one_thread_bytes_per_second,
                              roof->int8_macs_per_second, roof->f32_macs_per_second}) {
      EXPECT_GT(rate, 1e6) << to_string(isa);
      EXPECT_LT(rate, 1e16) << to_string(isa);
    }
  }
}

// A loop that the compiler hoisted or dropped would take no longer for more rounds.
TEST(Roof, WorkGrowsWithTheRounds) {
  const auto seconds = [](uint64_t (*loop)(size_t, uint64_t), size_t rounds) {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      EXPECT_NE(loop(rounds, 3), 0u);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  };
  for (const Isa isa : supported_isas()) {
    const RoofKernels kernels = roof_kernels(isa);
    for (const auto loop : {kernels.int8_dots, kernels.f32_macs, kernels.bf16_macs, kernels.int16_macs}) {
      if (loop == nullptr) continue;  // no kernel here uses such products
      EXPECT_GT(seconds(loop, 64000), 8 * seconds(loop, 1000)) << to_string(isa);
    }
  }
}

// The result depends on every byte: flipping one bit anywhere changes it.
TEST(Roof, ReadsEveryByte) {
  std::vector<std::byte> data(2 * kRoofReadStep);
  for (const Isa isa : supported_isas()) {
    const RoofKernels kernels = roof_kernels(isa);
    for (size_t i = 0; i < data.size(); ++i) data[i] = std::byte(static_cast<unsigned char>(i * 7));
    const uint64_t whole = kernels.read(data.data(), data.size());
    for (size_t i = 0; i < data.size(); i += 13) {
      data[i] ^= std::byte{0x10};
      EXPECT_NE(kernels.read(data.data(), data.size()), whole) << to_string(isa) << " misses byte " << i;
      data[i] ^= std::byte{0x10};
    }
  }
}

TEST(Roof, TheBufferMustFitInMemory) {
  ThreadPool pool(1);
  const Result<Roof> roof =
      measure_roof(pool, Isa::kScalar, {.buffer_bytes = size_t{1} << 60, .seconds_per_loop = 0.01});
  ASSERT_FALSE(roof.ok());
  EXPECT_EQ(roof.error().code, ErrorCode::kLimit);
}

}  // namespace
}  // namespace loci
