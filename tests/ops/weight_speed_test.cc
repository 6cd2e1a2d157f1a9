#include "ops/weight_speed.h"

#include <gtest/gtest.h>

#include <cmath>

namespace loci {
namespace {

TEST(WeightSpeed, EveryTypeHasFigures) {
  ThreadPool pool(1);
  const Result<std::vector<WeightSpeed>> speeds =
      measure_weights(pool, best_isa(), {.stored_bytes = size_t{1} << 18, .prefill_rows = 9, .passes = 1});
  ASSERT_TRUE(speeds.ok()) << speeds.error().message;
  ASSERT_EQ(speeds->size(), all_dtypes().size());
  for (const WeightSpeed& s : *speeds) {
    EXPECT_EQ(s.layout, layout_of(s.dtype, true)) << info(s.dtype).name;
    EXPECT_GT(s.decode_bytes_per_second, 1e6) << info(s.dtype).name;
    EXPECT_GT(s.prefill_macs_per_second, 1e6) << info(s.dtype).name;
    EXPECT_TRUE(std::isfinite(s.decode_bytes_per_second));
    EXPECT_GE(s.packed_bits, s.stored_bits * 0.99) << info(s.dtype).name;
  }
}

TEST(WeightSpeed, SlowIsLessThanHalfOfQ4_1) {
  std::vector<WeightSpeed> all;
  all.push_back({.dtype = DType::kQ4_1, .layout = WeightLayout::kW4m, .decode_bytes_per_second = 40e9});
  all.push_back({.dtype = DType::kQ2_K, .layout = WeightLayout::kW8mx16, .decode_bytes_per_second = 19e9});
  all.push_back({.dtype = DType::kQ6_K, .layout = WeightLayout::kW8x16, .decode_bytes_per_second = 21e9});
  EXPECT_FALSE(is_slow(all[0], all));
  EXPECT_TRUE(is_slow(all[1], all));
  EXPECT_FALSE(is_slow(all[2], all));
}

}  // namespace
}  // namespace loci
