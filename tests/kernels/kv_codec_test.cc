#include "kernels/cpu/kv_codec/kv_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "base/half.h"
#include "kernels/cpu/kv_codec/gather.h"
#include "kernels/cpu/kv_codec/hadamard.h"

namespace loci {
namespace {

constexpr uint32_t kDims[] = {8, 16, 32, 64, 80, 96, 128, 256, 512};
constexpr KvCodec kCodecs[] = {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4};

struct Page {
  explicit Page(const PageLayout& l) : layout(l), bytes(l.bytes) {}
  // [64][padded_dim]; keys are turned to [slot][dim], still rotated if the layout says so.
  std::vector<float> keys(Isa isa) const {
    std::vector<float> tile(size_t{layout.padded_dim} * kPageSlots), out(tile.size());
    kv_decode_kernels(isa).keys(layout, bytes.data(), tile.data());
    for (uint32_t d = 0; d < layout.padded_dim; ++d) {
      for (uint32_t s = 0; s < kPageSlots; ++s)
        out[size_t{s} * layout.padded_dim + d] = tile[size_t{d} * kPageSlots + s];
    }
    return out;
  }
  std::vector<float> values(Isa isa) const {
    std::vector<float> tile(size_t{layout.padded_dim} * kPageSlots);
    kv_decode_kernels(isa).values(layout, bytes.data(), tile.data());
    return tile;
  }

  PageLayout layout;
  std::vector<std::byte> bytes;
};

std::vector<float> random_entry(std::mt19937& random, uint32_t dim, float scale) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> out(dim);
  for (float& x : out) x = normal(random);
  if (random() % 2 == 0) out[random() % dim] *= 30;  // an outlier
  return out;
}

// Half a step of each group, and the rounding of decoding itself.
void expect_within_half_a_step(const std::vector<float>& wanted, const float* decoded, KvCodec codec,
                               const char* what) {
  const float levels = codec == KvCodec::kKv8 ? 255.0F : 15.0F;
  for (size_t first = 0; first < wanted.size(); first += kCodeGroup) {
    float low = wanted[first], high = wanted[first], magnitude = 0;
    for (size_t i = first; i < first + kCodeGroup; ++i) {
      low = std::min(low, wanted[i]);
      high = std::max(high, wanted[i]);
      magnitude = std::max(magnitude, std::abs(wanted[i]));
    }
    for (size_t i = first; i < first + kCodeGroup; ++i) {
      // Minimum and step are rounded outwards to halves: 2^-10 of the minimum, and 2^-24 where halves are subnormal.
      const float step = (high - low + magnitude * 0x1p-10F) / levels * (1 + 0x1p-9F) + 0x1p-24F;
      const float bound =
          codec == KvCodec::kKv16 ? std::abs(wanted[i]) * 0x1p-11F + 0x1p-25F : step / 2 + magnitude * 0x1p-20F;
      ASSERT_LE(std::abs(wanted[i] - decoded[i]), bound) << what << " " << to_string(codec) << " dim " << i;
    }
  }
}

TEST(KvCodec, DecodesWithinHalfAStep) {
  std::mt19937 random(1);
  for (const KvCodec codec : kCodecs) {
    for (const uint32_t dim : kDims) {
      Page page(page_layout(codec, dim));
      for (const float scale : {1e-6F, 1e-2F, 1.0F, 300.0F}) {
        const std::vector<float> k = random_entry(random, dim, scale), v = random_entry(random, dim, scale);
        const uint32_t slot = random() % kPageSlots;
        encode_entry(page.layout, page.bytes.data(), slot, k.data(), v.data());
        std::vector<float> key(page.layout.padded_dim), value(page.layout.padded_dim);
        std::copy(k.begin(), k.end(), key.begin());
        std::copy(v.begin(), v.end(), value.begin());
        if (page.layout.rotated) rotate_groups(key.data(), key.size());
        expect_within_half_a_step(key, page.keys(Isa::kScalar).data() + size_t{slot} * page.layout.padded_dim, codec,
                                  "key");
        expect_within_half_a_step(value, page.values(Isa::kScalar).data() + size_t{slot} * page.layout.padded_dim,
                                  codec, "value");
      }
    }
  }
}

// One number after the other, as the layout and the codecs are described: what encode_entry() is to write.
class PlainEncoder {
 public:
  PlainEncoder(const PageLayout& layout, uint32_t slot) : layout_(layout), slot_(slot) {}

  void expect_key(const std::vector<float>& x, const std::byte* page) const {
    expect(x, page, {layout_.key_scales, layout_.key_minimums}, [&](uint32_t dim) {
      if (layout_.codec == KvCodec::kKv16) return Place{(size_t{dim} * kPageSlots + slot_) * 2, 0};
      if (layout_.codec == KvCodec::kKv8) return Place{key_word(layout_, 4, slot_, dim) + dim % 4, 0};
      return Place{key_word(layout_, 8, slot_, dim) + dim % 4, dim % 8 < 4 ? 0 : 4};
    });
  }
  void expect_value(const std::vector<float>& x, const std::byte* page) const {
    expect(x, page, {layout_.value_scales, layout_.value_minimums}, [&](uint32_t dim) {
      if (layout_.codec == KvCodec::kKv16) return Place{value_half(layout_, slot_, dim), 0};
      if (layout_.codec == KvCodec::kKv8) return Place{value_word(layout_, 4, slot_, dim) + slot_ % 4, 0};
      return Place{value_word(layout_, 8, slot_, dim) + slot_ % 4, slot_ % 8 < 4 ? 0 : 4};
    });
  }

 private:
  struct Place {
    size_t byte;
    int shift;
  };
  struct Columns {
    size_t steps, minimums;
  };

  static float bounded(float x) { return std::isnan(x) ? 0.0F : std::clamp(x, -65504.0F, 65504.0F); }
  static uint16_t bits_at(const std::byte* page, size_t at) {
    uint16_t bits;
    std::memcpy(&bits, page + at, sizeof bits);
    return bits;
  }

  template <typename PlaceOf>
  void expect(std::vector<float> x, const std::byte* page, Columns columns, const PlaceOf& place) const {
    for (float& number : x) number = bounded(number);
    if (layout_.codec == KvCodec::kKv16) {
      for (uint32_t dim = 0; dim < x.size(); ++dim)
        ASSERT_EQ(bits_at(page, place(dim).byte), to_half(x[dim]).bits) << dim;
      return;
    }
    const float levels = layout_.codec == KvCodec::kKv8 ? 255.0F : 15.0F;
    for (uint32_t first = 0; first < x.size(); first += kCodeGroup) {
      const auto [low, high] = std::minmax_element(x.begin() + first, x.begin() + first + kCodeGroup);
      const size_t column = (size_t{first} / kCodeGroup * kPageSlots + slot_) * 2;
      const float minimum = to_float(Half{bits_at(page, columns.minimums + column)});
      const float step = to_float(Half{bits_at(page, columns.steps + column)});
      ASSERT_LE(minimum, *low);
      ASSERT_GE(std::nextafter(minimum + step * levels, INFINITY), *high);
      for (uint32_t dim = first; dim < first + kCodeGroup; ++dim) {
        const Place at = place(dim);
        const long wanted = step == 0 ? 0 : std::clamp(std::lrint((x[dim] - minimum) / step), 0L, std::lrint(levels));
        const int code = std::to_integer<int>(page[at.byte]) >> at.shift & static_cast<int>(levels);
        ASSERT_EQ(code, wanted) << to_string(layout_.codec) << " dim " << dim;
      }
    }
  }

  PageLayout layout_;
  uint32_t slot_;
};

TEST(KvCodec, WritesWhatPlainCodeWould) {
  std::mt19937 random(8);
  const std::vector<float> hostile = {0.0F,  -0.0F, 1e30F,    -1e30F, std::nanf(""), 65504,   -65504, 1e-40F, 65519,
                                      65520, 6e-8F, 2.98e-8F, 1.0F,   -1.0F,         2049.0F, 2051,   1e-5F};
  for (const KvCodec codec : kCodecs) {
    for (const uint32_t dim : kDims) {
      Page page(page_layout(codec, dim));
      for (int round = 0; round < 40; ++round) {
        std::vector<float> k = random_entry(random, dim, std::ldexp(1.0F, static_cast<int>(random() % 30) - 20));
        std::vector<float> v = random_entry(random, dim, 1);
        if (round % 4 == 1) std::fill(v.begin(), v.end(), v[0]);
        if (round % 4 == 2) {
          for (float& x : v) x = std::round(x * 8) / 8;  // ties
        }
        if (round % 4 == 3) {
          for (float& x : v) x = hostile[random() % hostile.size()];
          for (float& x : k) x = hostile[random() % hostile.size()] * 1e-3F;
        }
        const uint32_t slot = random() % kPageSlots;
        encode_entry(page.layout, page.bytes.data(), slot, k.data(), v.data());
        k.resize(page.layout.padded_dim);
        v.resize(page.layout.padded_dim);
        if (page.layout.rotated) {
          for (float& x : k) x = std::isnan(x) ? 0.0F : std::clamp(x, -65504.0F, 65504.0F);
          rotate_groups(k.data(), k.size());
        }
        const PlainEncoder plain(page.layout, slot);
        plain.expect_key(k, page.bytes.data());
        plain.expect_value(v, page.bytes.data());
      }
    }
  }
}

TEST(KvCodec, HostileNumbersStayFinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> entries = {
      std::vector<float>(64, 0.0F),          std::vector<float>(64, 1e30F), std::vector<float>(64, -infinity),
      std::vector<float>(64, std::nanf("")), std::vector<float>(64, 65504), std::vector<float>(64, -65504),
      std::vector<float>(64, 1e-40F)};
  for (const KvCodec codec : kCodecs) {
    for (const auto& entry : entries) {
      Page page(page_layout(codec, 64));
      encode_entry(page.layout, page.bytes.data(), 5, entry.data(), entry.data());
      for (const float x : page.keys(Isa::kScalar)) ASSERT_TRUE(std::isfinite(x));
      for (const float x : page.values(Isa::kScalar)) ASSERT_TRUE(std::isfinite(x));
    }
  }
}

TEST(KvCodec, SlotsDoNotTouchEachOther) {
  std::mt19937 random(2);
  for (const KvCodec codec : kCodecs) {
    Page page(page_layout(codec, 80));
    for (std::byte& b : page.bytes) b = static_cast<std::byte>(random() % 60);  // a recycled page
    std::vector<std::vector<float>> k, v;
    for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
      k.push_back(random_entry(random, 80, 1));
      v.push_back(random_entry(random, 80, 1));
      encode_entry(page.layout, page.bytes.data(), slot, k[slot].data(), v[slot].data());
    }
    const std::vector<float> keys = page.keys(Isa::kScalar), values = page.values(Isa::kScalar);
    for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
      Page alone(page.layout);
      encode_entry(alone.layout, alone.bytes.data(), slot, k[slot].data(), v[slot].data());
      const size_t row = size_t{slot} * page.layout.padded_dim;
      ASSERT_EQ(0, std::memcmp(keys.data() + row, alone.keys(Isa::kScalar).data() + row, page.layout.padded_dim * 4))
          << slot;
      ASSERT_EQ(0,
                std::memcmp(values.data() + row, alone.values(Isa::kScalar).data() + row, page.layout.padded_dim * 4))
          << slot;
    }
  }
}

TEST(KvCodec, CopiesBitForBit) {
  std::mt19937 random(3);
  for (const KvCodec codec : kCodecs) {
    for (const uint32_t dim : {16u, 64u, 256u}) {
      Page from(page_layout(codec, dim)), to(from.layout), expected(from.layout);
      const std::vector<float> k = random_entry(random, dim, 1), v = random_entry(random, dim, 1);
      encode_entry(from.layout, from.bytes.data(), 9, k.data(), v.data());
      encode_entry(expected.layout, expected.bytes.data(), 50, k.data(), v.data());
      copy_entry(from.layout, from.bytes.data(), 9, to.bytes.data(), 50);
      EXPECT_EQ(to.bytes, expected.bytes);
    }
  }
}

// Runs of one entry, of more than a vector holds, and of a whole page.
TEST(KvCodec, GathersEntriesBitForBit) {
  std::mt19937 random(5);
  std::vector<uint16_t> wide(40);
  std::iota(wide.begin(), wide.end(), uint16_t{20});
  const std::vector<std::vector<uint16_t>> lists[] = {{{3}}, {{0, 1, 63}, {7}, {62}}, {{5, 9}, wide}};
  for (const KvCodec codec : kCodecs) {
    for (const uint32_t dim : {16u, 64u, 256u}) {
      std::vector<Page> pages(3, Page(page_layout(codec, dim)));
      for (Page& page : pages) {
        for (uint32_t slot = 0; slot < kPageSlots; ++slot)
          encode_entry(page.layout, page.bytes.data(), slot, random_entry(random, dim, 1).data(),
                       random_entry(random, dim, 1).data());
      }
      for (const std::vector<std::vector<uint16_t>>& runs : lists) {
        EntrySlots slots;
        std::vector<EntryRun> from;
        Page expected(pages[0].layout);
        uint32_t to = 0;
        for (size_t p = 0; p < runs.size(); ++p) {
          from.push_back({pages[p].bytes.data(), static_cast<uint32_t>(runs[p].size())});
          for (const uint16_t slot : runs[p]) {
            copy_entry(expected.layout, pages[p].bytes.data(), slot, expected.bytes.data(), to);
            slots.at[to++] = slot;
          }
        }
        for (const Isa isa : supported_isas()) {
          Page got(pages[0].layout);
          gather_entries(isa)(got.layout, from, slots, got.bytes.data());
          const std::vector<float> keys = got.keys(isa), wanted_keys = expected.keys(isa);
          const std::vector<float> values = got.values(isa), wanted_values = expected.values(isa);
          for (uint32_t s = 0; s < to; ++s) {
            for (uint32_t d = 0; d < dim; ++d) {
              ASSERT_EQ(keys[s * got.layout.padded_dim + d], wanted_keys[s * got.layout.padded_dim + d]) << s;
              ASSERT_EQ(values[s * got.layout.padded_dim + d], wanted_values[s * got.layout.padded_dim + d]) << s;
            }
          }
        }
      }
    }
  }
}

TEST(KvCodec, CopiesManyAsOneByOne) {
  std::mt19937 random(5);
  const std::vector<uint32_t> slots = {0, 1, 5, 8, 31, 32, 33, 40, 63};
  for (const KvCodec codec : kCodecs) {
    for (const uint32_t dim : {16u, 64u, 256u}) {
      Page from(page_layout(codec, dim)), to(from.layout);
      for (Page* page : {&from, &to}) {
        for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
          const std::vector<float> k = random_entry(random, dim, 1), v = random_entry(random, dim, 1);
          encode_entry(page->layout, page->bytes.data(), slot, k.data(), v.data());
        }
      }
      for (const uint32_t first : {0u, 3u, 30u, 55u}) {
        Page expected = to;
        for (uint32_t i = 0; i < slots.size(); ++i)
          copy_entry(from.layout, from.bytes.data(), slots[i], expected.bytes.data(), first + i);
        copy_entries(from.layout, from.bytes.data(), slots, to.bytes.data(), first);
        EXPECT_EQ(to.bytes, expected.bytes) << to_string(codec) << ", " << dim << ", from " << first;
      }
    }
  }
}

TEST(KvCodec, InstructionSetsAgree) {
  std::mt19937 random(4);
  for (const KvCodec codec : kCodecs) {
    for (const uint32_t dim : kDims) {
      Page page(page_layout(codec, dim));
      for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
        const std::vector<float> k = random_entry(random, dim, 1), v = random_entry(random, dim, 1);
        encode_entry(page.layout, page.bytes.data(), slot, k.data(), v.data());
      }
      for (const Isa isa : supported_isas()) {
        EXPECT_EQ(page.keys(isa), page.keys(Isa::kScalar)) << to_string(isa);
        EXPECT_EQ(page.values(isa), page.values(Isa::kScalar)) << to_string(isa);
      }
    }
  }
}

TEST(KvCodec, FindsNumbersThatAreNotFinite) {
  for (const KvCodec codec : kCodecs) {
    Page page(page_layout(codec, 64));
    EXPECT_TRUE(page_is_finite(page.layout, page.bytes.data()));
    const size_t at = codec == KvCodec::kKv16 ? 300 : page.layout.value_minimums + 6;
    for (const uint16_t bits : {0x7c00, 0xfc00, 0x7e01}) {
      std::memcpy(page.bytes.data() + at, &bits, 2);
      EXPECT_FALSE(page_is_finite(page.layout, page.bytes.data()));
    }
    const uint16_t largest = 0x7bff;
    std::memcpy(page.bytes.data() + at, &largest, 2);
    EXPECT_TRUE(page_is_finite(page.layout, page.bytes.data()));
  }
}

TEST(KvCodec, BytesOfAPage) {
  EXPECT_EQ(page_layout(KvCodec::kKv16, 64).bytes, 64u * 64 * 2 * 2);
  EXPECT_EQ(page_layout(KvCodec::kKv8, 64).bytes, 64u * 2 * (64 + 2 * 4));
  EXPECT_EQ(page_layout(KvCodec::kKv4, 64).bytes, 64u * 2 * (32 + 2 * 4));
  for (const KvCodec codec : kCodecs) {
    for (const uint32_t dim : kDims) EXPECT_EQ(page_layout(codec, dim).bytes % 64, 0u);
    EXPECT_EQ(kv_codec_from_name(to_string(codec)), codec);
  }
  EXPECT_FALSE(kv_codec_from_name("kv5"));
}

TEST(Hadamard, IsItsOwnInverseAndKeepsDotProducts) {
  std::mt19937 random(5);
  std::vector<float> a = random_entry(random, 96, 1), b = random_entry(random, 96, 1);
  const std::vector<float> a0 = a;
  double before = 0, after = 0;
  for (size_t i = 0; i < a.size(); ++i) before += double{a[i]} * b[i];
  rotate_groups(a.data(), a.size());
  rotate_groups(b.data(), b.size());
  EXPECT_NE(a, a0);
  for (size_t i = 0; i < a.size(); ++i) after += double{a[i]} * b[i];
  EXPECT_NEAR(before, after, 1e-4);
  rotate_groups(a.data(), a.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], a0[i], 1e-5);
}

}  // namespace
}  // namespace loci
