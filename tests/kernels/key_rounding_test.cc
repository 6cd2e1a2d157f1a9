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
  // In slots `first` and on; as one run, or one by one; without feedback if there are no shares.
  std::vector<std::byte> page(const PageLayout& layout, uint32_t first, const std::vector<float>& shares,
                              bool one_run = true) const {
    std::vector<std::byte> out(layout.bytes), rounded(count * rounded_key_bytes(layout.padded_dim));
    const size_t bytes = rounded_key_bytes(layout.padded_dim);
    if (!shares.empty()) {
      const KeyFeedback feedback(shares, 1, layout.padded_dim);
      for (uint32_t i = 0; i < count; i += one_run ? count : 1) {
        const Rows keys{const_cast<float*>(&k[size_t{i} * dim]), one_run ? count : 1, dim, dim};
        round_keys(Isa::kScalar, layout, feedback, keys, rounded.data() + i * bytes);
      }
    }
    const uint32_t run = one_run ? count : 1;
    for (uint32_t i = 0; i < count; i += run) {
      encode_entries(layout, out.data(), first + i,
                     {.k = &k[size_t{i} * dim],
                      .v = &v[size_t{i} * dim],
                      .stride = dim,
                      .count = run,
                      .rounded_keys = shares.empty() ? nullptr : rounded.data() + i * bytes,
                      .rounded_stride = bytes});
    }
    return out;
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
    std::vector<std::byte> alone(layout.bytes);
    for (uint32_t i = 0; i < entries.count; ++i)
      encode_entry(layout, alone.data(), 7 + i, &entries.k[size_t{i} * dim], &entries.v[size_t{i} * dim]);
    EXPECT_TRUE(entries.page(layout, 7, none) == alone) << dim;
    EXPECT_TRUE(entries.page(layout, 7, {}) == alone) << dim;
  }
}

TEST(KeyRounding, FeedbackChangesCodesOfKeysAlone) {
  std::mt19937 random(2);
  for (const uint32_t dim : kKeyDims) {
    const PageLayout layout = page_layout(KvCodec::kKv4, dim);
    const Entries entries(dim, 21, random);
    const std::vector<float> shares = numbers(feedback_size(layout.padded_dim), 0.2F, random);
    const std::vector<std::byte> with = entries.page(layout, 7, shares), plain = entries.page(layout, 7, {});
    EXPECT_TRUE(with == entries.page(layout, 7, shares, false)) << dim;
    EXPECT_FALSE(with == plain) << dim;
    EXPECT_EQ(0, std::memcmp(&with[layout.values], &plain[layout.values], layout.bytes - layout.values)) << dim;
  }
}

// Heads share vectors with one another, but nothing else.
TEST(KeyRounding, HeadsComeOutAsAlone) {
  std::mt19937 random(6);
  for (const uint32_t dim : kKeyDims) {
    const PageLayout layout = page_layout(KvCodec::kKv4, dim);
    for (const uint32_t heads : {1u, 3u, 8u}) {
      std::vector<float> keys = numbers(size_t{heads} * dim, 1, random);
      const size_t size = feedback_size(layout.padded_dim), bytes = rounded_key_bytes(layout.padded_dim);
      const std::vector<float> shares = numbers(heads * size, 0.2F, random);
      std::vector<std::byte> together(heads * bytes), alone(heads * bytes);
      round_keys(Isa::kScalar, layout, KeyFeedback(shares, heads, layout.padded_dim),
                 {keys.data(), 1, heads * dim, heads * dim}, together.data());
      for (uint32_t h = 0; h < heads; ++h) {
        const KeyFeedback own({&shares[h * size], size}, 1, layout.padded_dim);
        round_keys(Isa::kScalar, layout, own, {&keys[size_t{h} * dim], 1, dim, dim}, &alone[h * bytes]);
      }
      EXPECT_TRUE(together == alone) << dim << " " << heads;
    }
  }
}

// One number after the other, as the header says.
TEST(KeyRounding, RoundsAsPlainCodeWould) {
  std::mt19937 random(3);
  const PageLayout layout = page_layout(KvCodec::kKv4, 64);
  const Entries entries(64, 40, random);
  const std::vector<float> feedback = numbers(feedback_size(64), 0.3F, random);
  const std::vector<std::byte> page = entries.page(layout, 0, feedback);
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

TEST(KeyRounding, InstructionSetsAgree) {
  std::mt19937 random(7);
  for (const uint32_t dim : kKeyDims) {
    const PageLayout layout = page_layout(KvCodec::kKv4, dim);
    const size_t bytes = rounded_key_bytes(layout.padded_dim);
    for (const float scale : {0.2F, 1e20F}) {
      const KeyFeedback feedback(numbers(3 * feedback_size(layout.padded_dim), scale, random), 3, layout.padded_dim);
      std::vector<float> keys = numbers(size_t{7} * 3 * dim, 1, random);  // one run of entries and three alone
      const Rows entries{keys.data(), 7, 3 * dim, 3 * dim};
      std::vector<std::byte> scalar(7 * 3 * bytes);
      round_keys(Isa::kScalar, layout, feedback, entries, scalar.data());
      for (const Isa isa : supported_isas()) {
        std::vector<std::byte> out(scalar.size());
        round_keys(isa, layout, feedback, entries, out.data());
        EXPECT_TRUE(out == scalar) << dim << " " << to_string(isa);
      }
    }
  }
}

TEST(KeyRounding, OtherCodecsRoundEachNumberByItself) {
  std::mt19937 random(4);
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8}) {
    const PageLayout layout = page_layout(codec, 64);
    const Entries entries(64, 9, random);
    const std::vector<float> feedback = numbers(feedback_size(64), 0.3F, random);
    EXPECT_TRUE(entries.page(layout, 3, feedback) == entries.page(layout, 3, {})) << to_string(codec);
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
    const std::vector<std::byte> page = entries.page(layout, 0, std::vector<float>(feedback_size(64), x));
    EXPECT_TRUE(page_is_finite(layout, page.data()));
    std::vector<float> tile(size_t{64} * kPageSlots);
    kv_decode_kernels(Isa::kScalar).keys(layout, page.data(), tile.data());
    for (const float y : tile) ASSERT_TRUE(std::isfinite(y)) << x;
  }
}

}  // namespace
}  // namespace loci
