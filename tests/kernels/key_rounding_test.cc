#include "kernels/cpu/kv_codec/key_rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/half.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr uint32_t kKeyDims[] = {8, 64, 80, 128, 256, 512};

std::vector<float> numbers(size_t count, float scale, std::mt19937& random) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(count);
  for (float& x : out) x = normal(random);
  return out;
}

struct Entries {
  Entries(uint32_t d, uint32_t c, std::mt19937& random)
      : dim(d), count(c), k(numbers(size_t{d} * c, 1, random)), v(numbers(size_t{d} * c, 1, random)) {
    for (uint32_t i = 0; i < c; i += 3) k[size_t{i} * d + random() % d] *= 20;  // outliers
    std::fill_n(k.begin(), d, 0.0F);                                            // a key whose groups have no range
  }
  NewEntries all(const float* feedback) const { return {k.data(), v.data(), dim, count, feedback}; }
  NewEntries one(uint32_t i, const float* feedback) const {
    return {k.data() + size_t{i} * dim, v.data() + size_t{i} * dim, dim, 1, feedback};
  }
  uint32_t dim, count;
  std::vector<float> k, v;
};

TEST(KeyRounding, WithoutFeedbackEachNumberIsRoundedByItself) {
  std::mt19937 random(1);
  for (const uint32_t dim : kKeyDims) {
    const PageLayout layout = page_layout(KvCodec::kKv4, dim);
    const Entries entries(dim, 21, random);
    const std::vector<float> none(feedback_size(layout.padded_dim));
    std::vector<std::byte> together(layout.bytes), alone(layout.bytes);
    encode_entries(layout, together.data(), 7, entries.all(none.data()));
    for (uint32_t i = 0; i < entries.count; ++i)
      encode_entry(layout, alone.data(), 7 + i, &entries.k[size_t{i} * dim], &entries.v[size_t{i} * dim]);
    EXPECT_TRUE(together == alone) << dim;
  }
}

TEST(KeyRounding, EntriesComeOutTheSameInAnyCompany) {
  std::mt19937 random(2);
  for (const uint32_t dim : kKeyDims) {
    const PageLayout layout = page_layout(KvCodec::kKv4, dim);
    const Entries entries(dim, 21, random);
    const std::vector<float> feedback = numbers(feedback_size(layout.padded_dim), 0.2F, random);
    std::vector<std::byte> together(layout.bytes), alone(layout.bytes), plain(layout.bytes);
    encode_entries(layout, together.data(), 7, entries.all(feedback.data()));
    for (uint32_t i = 0; i < entries.count; ++i)
      encode_entries(layout, alone.data(), 7 + i, entries.one(i, feedback.data()));
    encode_entries(layout, plain.data(), 7, entries.all(nullptr));
    EXPECT_TRUE(together == alone) << dim;
    EXPECT_FALSE(together == plain) << dim;
    // Steps, minimums and all of values are as they are without.
    EXPECT_EQ(0, std::memcmp(&together[layout.values], &plain[layout.values], layout.bytes - layout.values)) << dim;
  }
}

// One number after the other, as the header says.
TEST(KeyRounding, RoundsAsPlainCodeWould) {
  std::mt19937 random(3);
  const PageLayout layout = page_layout(KvCodec::kKv4, 64);
  const Entries entries(64, 40, random);
  const std::vector<float> feedback = numbers(feedback_size(64), 0.3F, random);
  std::vector<std::byte> page(layout.bytes);
  encode_entries(layout, page.data(), 0, entries.all(feedback.data()));
  std::vector<float> tile(size_t{64} * kPageSlots);
  kv_decode_kernels(Isa::kScalar).keys(layout, page.data(), tile.data());
  uint32_t moved = 0;
  for (uint32_t slot = 0; slot < entries.count; ++slot) {
    std::vector<float> key(&entries.k[size_t{slot} * 64], &entries.k[size_t{slot} * 64] + 64);
    rotate_groups(key.data(), key.size());
    const std::vector<float> own = key;
    for (uint32_t d = 0; d < 64; ++d) {
      const uint32_t group = d / kCodeGroup, end = (group + 1) * kCodeGroup;
      const auto half_at = [&](uint32_t column) {
        Half h;
        std::memcpy(&h.bits, &page[column + (size_t{group} * kPageSlots + slot) * 2], 2);
        return to_float(h);
      };
      const float step = half_at(layout.key_scales), minimum = half_at(layout.key_minimums);
      const float code = step > 0 ? std::clamp(std::nearbyint((key[d] - minimum) / step), 0.0F, 15.0F) : 0.0F;
      const float stored = code * step + minimum;
      moved += std::fabs(stored - own[d]) > 0.501F * step;
      ASSERT_FLOAT_EQ(tile[size_t{d} * kPageSlots + slot], stored) << slot << " " << d;
      for (uint32_t later = d + 1; later < end; ++later)
        key[later] -= (key[d] - stored) * feedback[size_t{d} * kCodeGroup + later % kCodeGroup];
    }
  }
  EXPECT_GT(moved, 100u) << "feedback brings numbers to other codes than the nearest";
}

TEST(KeyRounding, OtherCodecsRoundEachNumberByItself) {
  std::mt19937 random(4);
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8}) {
    const PageLayout layout = page_layout(codec, 64);
    const Entries entries(64, 9, random);
    const std::vector<float> feedback = numbers(feedback_size(64), 0.3F, random);
    std::vector<std::byte> with(layout.bytes), without(layout.bytes);
    encode_entries(layout, with.data(), 3, entries.all(feedback.data()));
    encode_entries(layout, without.data(), 3, entries.all(nullptr));
    EXPECT_TRUE(with == without) << to_string(codec);
  }
}

// A model file may hold any numbers.
TEST(KeyRounding, HostileFeedbackLeavesPagesFinite) {
  std::mt19937 random(5);
  const PageLayout layout = page_layout(KvCodec::kKv4, 64);
  Entries entries(64, 12, random);
  entries.k[3 * 64 + 1] = std::numeric_limits<float>::infinity();
  entries.k[4 * 64 + 2] = std::nanf("");
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float x : {infinity, -infinity, std::nanf(""), 3e38F, -1e20F}) {
    const std::vector<float> feedback(feedback_size(64), x);
    std::vector<std::byte> page(layout.bytes);
    encode_entries(layout, page.data(), 0, entries.all(feedback.data()));
    EXPECT_TRUE(page_is_finite(layout, page.data()));
    std::vector<float> tile(size_t{64} * kPageSlots);
    kv_decode_kernels(Isa::kScalar).keys(layout, page.data(), tile.data());
    for (const float y : tile) ASSERT_TRUE(std::isfinite(y)) << x;
  }
}

}  // namespace
}  // namespace loci
