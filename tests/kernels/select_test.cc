// The loops under the selection primitives: against plain code, and the same bits on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/rope/rotate.h"
#include "kernels/cpu/select/select_kernels.h"
#include "kernels/random_tensor.h"

namespace loci {
namespace {

constexpr size_t kCounts[] = {0, 1, 2, 7, 8, 15, 16, 17, 31, 63, 64, 65, 127, 130, 1000};
constexpr float kLargest = std::numeric_limits<float>::infinity();

// Few different values, both zeros, infinities and NaN: ties everywhere.
std::vector<float> crowded(test::Rng& rng, size_t count) {
  const float values[] = {0.0F, -0.0F, 1.0F, -1.0F, 0.5F, kLargest, -kLargest, std::nanf(""), 1e-40F, 3.5F};
  std::vector<float> out(count);
  for (float& v : out) v = values[rng() % std::size(values)];
  return out;
}

TEST(SelectKey, OrdersAsFloatsDo) {
  const float ascending[] = {-kLargest, -3.0F, -1e-40F, 0.0F, 1e-40F, 1.0F, kLargest};
  for (size_t i = 1; i < std::size(ascending); ++i) {
    EXPECT_LT(select_key(ascending[i - 1]), select_key(ascending[i])) << ascending[i];
  }
  EXPECT_EQ(select_key(0.0F), select_key(-0.0F));
  EXPECT_EQ(select_key(std::nanf("")), 0u);
  EXPECT_EQ(select_key(-std::nanf("")), 0u);
  EXPECT_GT(select_key(-kLargest), 0u);
}

TEST(SelectKernels, ScoresAreOneChainPerKey) {
  test::Rng rng(1);
  for (const size_t dim : {32u, 64u, 96u, 128u}) {
    std::vector<float> keys = test::normals(rng, dim * 64);
    std::vector<uint16_t> halves;
    for (float& key : keys) {
      halves.push_back(to_half(key).bits);
      key = to_float(Half{halves.back()});
    }
    for (const size_t rows : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 13u, 16u}) {
      const std::vector<float> q = test::normals(rng, rows * dim);
      const size_t stride = 64 + rng() % 9;
      std::vector<float> expected(rows * stride, 7.0F);
      for (size_t r = 0; r < rows; ++r) {
        for (size_t k = 0; k < 64; ++k) {
          float sum = 0;
          for (size_t i = 0; i < dim; ++i) sum = std::fma(q[r * dim + i], keys[i * 64 + k], sum);
          expected[r * stride + k] = sum;
        }
      }
      for (const Isa isa : supported_isas()) {
        std::vector<float> scores(rows * stride, 7.0F);
        select_kernels(isa).score_tile(q.data(), rows, dim, keys.data(), scores.data(), stride);
        EXPECT_TRUE(test::same_bits(scores, expected)) << to_string(isa) << " rows " << rows << " dim " << dim;
        std::fill(scores.begin(), scores.end(), 7.0F);
        select_kernels(isa).score_halves(q.data(), rows, dim, halves.data(), halves.data(), scores.data(), stride);
        EXPECT_TRUE(test::same_bits(scores, expected)) << to_string(isa) << " halves, rows " << rows << " dim " << dim;
      }
    }
  }
}

// Key `slot` of a tile [dim][64].
std::vector<float> key_of(const std::vector<float>& tile, size_t dim, size_t slot) {
  std::vector<float> out;
  for (size_t d = 0; d < dim; ++d) out.push_back(tile[d * 64 + slot]);
  return out;
}

TEST(SelectKernels, KeysOfATileTurnAsRowsDo) {
  test::Rng rng(8);
  for (const auto& [dim, half] : {std::pair<size_t, size_t>{32, 16}, {64, 20}, {128, 64}}) {
    const std::vector<float> tile = test::normals(rng, dim * 64);
    const std::vector<float> cosines = test::normals(rng, half * 64), sines = test::normals(rng, half * 64);
    for (const Isa isa : supported_isas()) {
      for (const bool adjacent : {true, false}) {
        std::vector<float> turned = tile;
        select_kernels(isa).move_tile(turned.data(), half, adjacent ? 2 : 1, adjacent ? 1 : half, cosines.data(),
                                      sines.data());
        for (size_t slot = 0; slot < 64; ++slot) {
          std::vector<float> key = key_of(tile, dim, slot);
          const RotateHead rotate = adjacent ? rotate_adjacent(Isa::kScalar) : rotate_halves(Isa::kScalar);
          rotate(key.data(), key_of(cosines, half, slot).data(), key_of(sines, half, slot).data(), half);
          EXPECT_TRUE(test::same_bits(key_of(turned, dim, slot), key)) << to_string(isa) << " slot " << slot;
        }
      }
      std::vector<float> rotated = tile;
      select_kernels(isa).rotate_tile(rotated.data(), dim);
      for (size_t slot = 0; slot < 64; ++slot) {
        std::vector<float> key = key_of(tile, dim, slot);
        rotate_groups(key.data(), dim);
        EXPECT_TRUE(test::same_bits(key_of(rotated, dim, slot), key)) << to_string(isa) << " slot " << slot;
      }
    }
  }
}

TEST(SelectKernels, RowLoopsMatchPlainCodeAndEachOther) {
  test::Rng rng(2);
  for (const size_t count : kCounts) {
    const std::vector<float> x = test::normals(rng, count, 3), y = test::normals(rng, count, 3);
    const float most = count == 0 ? -kLargest : *std::max_element(x.begin(), x.end());
    std::vector<float> exps, added, larger;
    double total = 0;
    for (size_t i = 0; i < count; ++i) {
      total += std::exp(double{x[i]} - most);
      added.push_back(y[i] + x[i]);
      larger.push_back(std::max(x[i], y[i]));
    }
    const SelectKernels& reference = select_kernels(Isa::kScalar);
    exps.resize(count);
    const float sum = reference.exp_sum(x.data(), count, most, exps.data());
    EXPECT_NEAR(sum, total, 1e-6 * total);
    for (size_t i = 0; i < count; ++i) EXPECT_NEAR(exps[i], std::exp(double{x[i]} - most), 3e-7);
    for (const Isa isa : supported_isas()) {
      const SelectKernels& kernels = select_kernels(isa);
      EXPECT_EQ(kernels.largest(x.data(), count), most);
      std::vector<float> out = x;
      EXPECT_EQ(kernels.exp_sum(out.data(), count, most, out.data()), sum) << to_string(isa) << " " << count;
      EXPECT_TRUE(test::same_bits(out, exps));
      out = y;
      kernels.add(x.data(), count, out.data());
      EXPECT_TRUE(test::same_bits(out, added));
      out = y;
      kernels.maximum(x.data(), count, out.data());
      EXPECT_TRUE(test::same_bits(out, larger));
      out = x;
      kernels.scale(out.data(), count, 0.75F);
      for (size_t i = 0; i < count; ++i) EXPECT_EQ(out[i], x[i] * 0.75F);
    }
  }
}

TEST(SelectKernels, ExponentialsOfRowsJoinInOneChain) {
  test::Rng rng(5);
  for (const size_t count : kCounts) {
    for (const size_t rows : {1u, 2u, 5u}) {
      const size_t stride = count + 3;
      const std::vector<float> x = test::normals(rng, rows * stride, 3), before = test::normals(rng, count);
      std::vector<float> offsets = test::normals(rng, rows, 3);
      offsets[rows - 1] = rows > 1 ? kLargest : offsets[0];  // a row that has no part
      std::vector<float> sums = before, most = before;
      const SelectKernels& reference = select_kernels(Isa::kScalar);
      reference.add_exps(x.data(), rows, stride, offsets.data(), count, sums.data());
      reference.maximum_exps(x.data(), rows, stride, offsets.data(), count, most.data());
      for (size_t i = 0; i < count; ++i) {
        double sum = before[i], largest = before[i];
        for (size_t r = 0; r < rows; ++r) {
          const double e = std::exp(double{x[r * stride + i]} - double{offsets[r]});
          sum += e;
          largest = std::max(largest, e);
        }
        EXPECT_NEAR(sums[i], sum, 1e-5 * (1 + std::abs(sum)));
        EXPECT_NEAR(most[i], largest, 1e-6 * (1 + std::abs(largest)));
      }
      for (const Isa isa : supported_isas()) {
        std::vector<float> out = before;
        select_kernels(isa).add_exps(x.data(), rows, stride, offsets.data(), count, out.data());
        EXPECT_TRUE(test::same_bits(out, sums)) << to_string(isa) << " " << count << " x " << rows;
        out = before;
        select_kernels(isa).maximum_exps(x.data(), rows, stride, offsets.data(), count, out.data());
        EXPECT_TRUE(test::same_bits(out, most)) << to_string(isa) << " " << count << " x " << rows;
      }
    }
  }
}

TEST(SelectKernels, LargestPassesOverNaN) {
  for (const Isa isa : supported_isas()) {
    std::vector<float> x(40, std::nanf(""));
    EXPECT_EQ(select_kernels(isa).largest(x.data(), x.size()), -kLargest);
    x[3] = -2;
    x[37] = -1;
    EXPECT_EQ(select_kernels(isa).largest(x.data(), x.size()), -1.0F);
  }
}

TEST(SelectKernels, WindowsAreChainsOverNeighbours) {
  test::Rng rng(3);
  for (const size_t width : {1u, 3u, 5u, 7u, 31u}) {
    for (const size_t count : kCounts) {
      if (count == 0) continue;
      const std::vector<float> x = test::normals(rng, count + width - 1);
      std::vector<float> sums(count), most(count);
      for (size_t i = 0; i < count; ++i) {
        sums[i] = most[i] = x[i];
        for (size_t j = 1; j < width; ++j) {
          sums[i] += x[i + j];
          most[i] = std::max(most[i], x[i + j]);
        }
      }
      for (const Isa isa : supported_isas()) {
        std::vector<float> out(count + 1, 9.0F);
        select_kernels(isa).window_sum(x.data(), count, width, out.data());
        EXPECT_TRUE(test::same_bits(std::span(out).first(count), sums)) << to_string(isa) << " " << width;
        EXPECT_EQ(out.back(), 9.0F);
        select_kernels(isa).window_max(x.data(), count, width, out.data());
        EXPECT_TRUE(test::same_bits(std::span(out).first(count), most)) << to_string(isa) << " " << width;
      }
    }
  }
}

TEST(SelectKernels, CountsKeysUnderAPrefix) {
  test::Rng rng(4);
  for (const size_t count : kCounts) {
    for (const bool ties : {false, true}) {
      const std::vector<float> x = ties ? crowded(rng, count) : test::normals(rng, count);
      const uint32_t prefix = count == 0 ? 0 : select_key(x[rng() % count]);
      for (const auto& [above, shift] : {std::pair{32, 21}, {21, 10}, {10, 0}, {32, 24}, {8, 0}}) {
        const uint32_t mask = (1u << std::min(above - shift, 11)) - 1;
        std::vector<uint32_t> expected(mask + 1);
        for (const float v : x) {
          const uint64_t key = select_key(v);
          if (key >> above == uint64_t{prefix} >> above) ++expected[(key >> shift) & mask];
        }
        for (const Isa isa : supported_isas()) {
          std::vector<uint32_t> bins(kBinCopies * (mask + 1)), sums(mask + 1);
          select_kernels(isa).count_keys(x.data(), count, prefix, above, shift, mask, bins.data());
          for (size_t i = 0; i < bins.size(); ++i) sums[i % (mask + 1)] += bins[i];
          EXPECT_EQ(sums, expected) << to_string(isa) << " " << count << " above " << above;
        }
      }
    }
  }
}

TEST(SelectKernels, CollectsInOrderWithTiesAtTheFront) {
  test::Rng rng(5);
  for (const size_t count : kCounts) {
    for (int round = 0; round < 6; ++round) {
      const std::vector<float> x = round % 2 == 0 ? crowded(rng, count) : test::normals(rng, count);
      const Cut cut{.key = count == 0 ? 5 : select_key(x[rng() % count]), .ties = static_cast<uint32_t>(rng() % 5)};
      std::vector<uint32_t> expected;
      uint32_t ties = cut.ties;
      for (size_t i = 0; i < count; ++i) {
        const uint32_t key = select_key(x[i]);
        if (key > cut.key || (key == cut.key && ties > 0)) {
          expected.push_back(static_cast<uint32_t>(1000 + i));
          ties -= key == cut.key ? 1 : 0;
        }
      }
      for (const Isa isa : supported_isas()) {
        // Not one element more than are taken may be written.
        std::vector<uint32_t> out(expected.size() + 1, 77u);
        Cut rest = cut;
        EXPECT_EQ(select_kernels(isa).collect(x.data(), count, 1000, rest, out.data()), expected.size());
        EXPECT_EQ(out.back(), 77u);
        out.pop_back();
        EXPECT_EQ(out, expected) << to_string(isa) << " " << count;
        EXPECT_EQ(rest.ties, ties);
      }
    }
  }
}

TEST(SelectKernels, MarksWhatReachesAThreshold) {
  test::Rng rng(6);
  for (const size_t count : kCounts) {
    const std::vector<float> x = crowded(rng, count);
    for (const float threshold : {0.0F, 0.5F, -kLargest, kLargest}) {
      for (const Isa isa : supported_isas()) {
        std::vector<uint64_t> words((count + 63) / 64, ~uint64_t{0});
        select_kernels(isa).mark_at_least(x.data(), count, threshold, words.data());
        for (size_t i = 0; i < words.size() * 64; ++i) {
          EXPECT_EQ((words[i / 64] >> i % 64) & 1, i < count && x[i] >= threshold ? 1u : 0u) << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace loci
