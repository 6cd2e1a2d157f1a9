#include "kernels/cpu/kv_codec/encode.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/key_rounding.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr float kHalfMax = 65504.0F;

// Loops over a group are written so that compilers make vector code of them: no branches, no calls, one order of
// everything.

// Within a half's range; NaN becomes 0.
inline float bounded(float x) {
  const float low = x > -kHalfMax ? x : -kHalfMax;
  const float y = low < kHalfMax ? low : kHalfMax;
  return x == x ? y : 0.0F;
}

// As to_half(), of a bounded number.
inline uint16_t half_bits(float x) {
  const auto bits = std::bit_cast<int32_t>(x);
  const int32_t magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
  // Of what is subnormal as a half the float adder does the rounding.
  const int32_t small = std::bit_cast<int32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000;
  const int32_t rounded = (magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13;
  return static_cast<uint16_t>(sign | (magnitude < 0x38800000 ? small : rounded));
}

void store_half(std::byte* at, Half h) { std::memcpy(at, &h.bits, sizeof h.bits); }
Half half_at(const std::byte* at) {
  Half h;
  std::memcpy(&h.bits, at, sizeof h.bits);
  return h;
}

// The next half towards -infinity or +infinity; `h` is finite.
Half next_below(Half h) {
  if (h.bits == 0) return Half{0x8001};
  return Half{static_cast<uint16_t>((h.bits & 0x8000u) != 0 ? h.bits + 1 : h.bits - 1)};
}
Half round_down(float x) {
  const Half h = to_half(x);
  return to_float(h) > x ? next_below(h) : h;
}
Half round_up_positive(float x) {
  const Half h = to_half(x);
  return to_float(h) < x ? Half{static_cast<uint16_t>(h.bits + 1)} : h;
}

struct Range {
  float low;
  float high;
};

// Of a group without NaN; a zero is +0.
Range range_of(const float* x) {
  constexpr uint32_t kLanes = 8;
  float low[kLanes], high[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) low[lane] = high[lane] = x[lane];
  for (uint32_t i = kLanes; i < kCodeGroup; i += kLanes) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      low[lane] = x[i + lane] < low[lane] ? x[i + lane] : low[lane];
      high[lane] = x[i + lane] > high[lane] ? x[i + lane] : high[lane];
    }
  }
  return {*std::min_element(low, low + kLanes) + 0.0F, *std::max_element(high, high + kLanes)};
}

}  // namespace

GroupScale group_scale(const float* x, float levels) {
  const Range range = range_of(x);
  Half minimum = round_down(range.low);
  if (!std::isfinite(to_float(minimum))) minimum = to_half(-kHalfMax);
  return {round_up_positive((range.high - to_float(minimum)) / levels), minimum};
}

namespace {

// (x - minimum) / step, rounded to the nearest, halves to even; what is out of range is at most a step out.
void codes_of(const float* x, const GroupScale& scale, int32_t levels, uint8_t* codes) {
  const float step = to_float(scale.step), minimum = to_float(scale.minimum);
  if (step == 0.0F) {
    std::fill_n(codes, kCodeGroup, uint8_t{0});
    return;
  }
  for (uint32_t i = 0; i < kCodeGroup; ++i) {
    const float sum = (x[i] - minimum) / step + kFloatInteger;
    const int32_t code = std::bit_cast<int32_t>(sum) - std::bit_cast<int32_t>(kFloatInteger);
    const int32_t least = code > 0 ? code : 0;
    codes[i] = static_cast<uint8_t>(least < levels ? least : levels);
  }
}

size_t key_half(uint32_t slot, uint32_t dim) { return (size_t{dim} * kPageSlots + slot) * 2; }

// A slot's codes of a key are whole words, of four or eight dimensions.
void write_key_codes(const PageLayout& layout, std::byte* page, uint32_t slot, uint32_t dim, const uint8_t* codes) {
  if (layout.codec == KvCodec::kKv8) {
    for (uint32_t i = 0; i < kCodeGroup; i += 4) std::memcpy(page + key_word(layout, 4, slot, dim + i), codes + i, 4);
    return;
  }
  for (uint32_t i = 0; i < kCodeGroup; i += 8) {
    std::byte* word = page + key_word(layout, 8, slot, dim + i);
    for (uint32_t b = 0; b < 4; ++b) word[b] = static_cast<std::byte>(codes[i + b] | codes[i + b + 4] << 4);
  }
}

// Where a slot's code of a value lies in the word of its dimension: a whole byte of kv8, a nibble of kv4.
struct CodePlace {
  size_t byte;
  int shift;
};
CodePlace value_place(const PageLayout& layout, uint32_t slot, uint32_t dim) {
  if (layout.codec == KvCodec::kKv8) return {value_word(layout, 4, slot, dim) + slot % 4, 0};
  return {value_word(layout, 8, slot, dim) + slot % 4, slot % 8 < 4 ? 0 : 4};
}

// A slot's codes of a value are one field of each dimension's word.
void write_value_codes(const PageLayout& layout, std::byte* page, uint32_t slot, uint32_t dim, const uint8_t* codes) {
  const CodePlace place = value_place(layout, slot, dim);
  std::byte* to = page + place.byte;
  if (layout.codec == KvCodec::kKv8) {
    for (uint32_t i = 0; i < kCodeGroup; ++i) to[4 * i] = static_cast<std::byte>(codes[i]);
    return;
  }
  const uint32_t others = place.shift == 0 ? 0xf0u : 0x0fu;
  for (uint32_t i = 0; i < kCodeGroup; ++i) {
    const uint32_t kept = std::to_integer<uint32_t>(to[4 * i]) & others;
    to[4 * i] = static_cast<std::byte>(kept | static_cast<uint32_t>(codes[i]) << place.shift);
  }
}

struct ScaleColumns {
  size_t steps;
  size_t minimums;
};

void store_scale(std::byte* page, ScaleColumns columns, uint32_t slot, uint32_t dim, const GroupScale& scale) {
  const size_t column = (size_t{dim} / kCodeGroup * kPageSlots + slot) * 2;
  store_half(page + columns.steps + column, scale.step);
  store_half(page + columns.minimums + column, scale.minimum);
}

// x [padded_dim], bounded.
template <typename WriteCodes>
void encode_side(const PageLayout& layout, std::byte* page, uint32_t slot, const float* x, ScaleColumns columns,
                 const WriteCodes& write_codes) {
  const int32_t levels = layout.codec == KvCodec::kKv8 ? 255 : 15;
  for (uint32_t dim = 0; dim < layout.padded_dim; dim += kCodeGroup) {
    const GroupScale scale = group_scale(x + dim, static_cast<float>(levels));
    uint8_t codes[kCodeGroup];
    codes_of(x + dim, scale, levels, codes);
    write_codes(layout, page, slot, dim, codes);
    store_scale(page, columns, slot, dim, scale);
  }
}

ScaleColumns key_columns(const PageLayout& layout) { return {layout.key_scales, layout.key_minimums}; }
ScaleColumns value_columns(const PageLayout& layout) { return {layout.value_scales, layout.value_minimums}; }

// rounded [rounded_key_bytes], as round_keys() wrote it.
void place_key(const PageLayout& layout, std::byte* page, uint32_t slot, const std::byte* rounded) {
  const uint32_t groups = layout.padded_dim / kCodeGroup;
  const std::byte* scales = rounded + layout.padded_dim;
  for (uint32_t group = 0; group < groups; ++group) {
    uint8_t codes[kCodeGroup];
    std::memcpy(codes, rounded + size_t{group} * kCodeGroup, kCodeGroup);
    write_key_codes(layout, page, slot, group * kCodeGroup, codes);
    const GroupScale scale{half_at(scales + group * sizeof(uint16_t)),
                           half_at(scales + (groups + group) * sizeof(uint16_t))};
    store_scale(page, key_columns(layout), slot, group * kCodeGroup, scale);
  }
}

void encode_halves(const PageLayout& layout, std::byte* page, uint32_t slot, const float* key, const float* value) {
  for (uint32_t dim = 0; dim < layout.padded_dim; dim += kCodeGroup) {
    uint16_t halves[kCodeGroup];
    for (uint32_t i = 0; i < kCodeGroup; ++i) halves[i] = half_bits(key[dim + i]);
    for (uint32_t i = 0; i < kCodeGroup; ++i) store_half(page + key_half(slot, dim + i), Half{halves[i]});
    for (uint32_t i = 0; i < kCodeGroup; ++i) halves[i] = half_bits(value[dim + i]);
    std::memcpy(page + value_half(layout, slot, dim), halves, sizeof halves);
  }
}

void pad(const PageLayout& layout, const float* x, float* padded) {
  for (uint32_t i = 0; i < layout.head_dim; ++i) padded[i] = bounded(x[i]);
  std::fill(padded + layout.head_dim, padded + layout.padded_dim, 0.0F);
}

}  // namespace

void rotate_key(const PageLayout& layout, const float* k, float* key) {
  pad(layout, k, key);
  rotate_groups(key, layout.padded_dim);
  for (uint32_t dim = 0; dim < layout.padded_dim; ++dim) key[dim] = bounded(key[dim]);
}

void encode_entry(const PageLayout& layout, std::byte* page, uint32_t slot, const float* k, const float* v) {
  float key[kMaxHeadDim], value[kMaxHeadDim];
  pad(layout, v, value);
  if (layout.codec == KvCodec::kKv16) {
    pad(layout, k, key);
    encode_halves(layout, page, slot, key, value);
    return;
  }
  rotate_key(layout, k, key);
  encode_side(layout, page, slot, key, key_columns(layout), write_key_codes);
  encode_side(layout, page, slot, value, value_columns(layout), write_value_codes);
}

void encode_entries(const PageLayout& layout, std::byte* page, uint32_t first_slot, const NewEntries& entries) {
  for (uint32_t i = 0; i < entries.count; ++i) {
    const float* v = entries.v + i * entries.stride;
    if (layout.codec != KvCodec::kKv4 || entries.rounded_keys == nullptr) {
      encode_entry(layout, page, first_slot + i, entries.k + i * entries.stride, v);
      continue;
    }
    float value[kMaxHeadDim];
    pad(layout, v, value);
    place_key(layout, page, first_slot + i, entries.rounded_keys + i * entries.rounded_stride);
    encode_side(layout, page, first_slot + i, value, value_columns(layout), write_value_codes);
  }
}

namespace {

void copy_halves(const PageLayout& layout, const std::byte* from, uint32_t from_slot, std::byte* to, uint32_t to_slot) {
  for (uint32_t dim = 0; dim < layout.padded_dim; ++dim)
    store_half(to + key_half(to_slot, dim), half_at(from + key_half(from_slot, dim)));
  for (uint32_t dim = 0; dim < layout.padded_dim; dim += kCodeGroup)
    std::memcpy(to + value_half(layout, to_slot, dim), from + value_half(layout, from_slot, dim), kCodeGroup * 2);
}

// A slot's codes of a key are whole words; of a value, one field of each dimension's word.
void copy_codes(const PageLayout& layout, const std::byte* from, uint32_t from_slot, std::byte* to, uint32_t to_slot) {
  const uint32_t per_word = layout.codec == KvCodec::kKv8 ? 4 : 8;
  for (uint32_t dim = 0; dim < layout.padded_dim; dim += per_word)
    std::memcpy(to + key_word(layout, per_word, to_slot, dim), from + key_word(layout, per_word, from_slot, dim), 4);
  const CodePlace read = value_place(layout, from_slot, 0), written = value_place(layout, to_slot, 0);
  const auto mask = static_cast<uint8_t>(layout.codec == KvCodec::kKv8 ? 255u : 15u);
  for (uint32_t dim = 0; dim < layout.padded_dim; dim += kCodeGroup) {
    const std::byte* in = from + value_place(layout, from_slot, dim).byte;
    std::byte* out = to + value_place(layout, to_slot, dim).byte;
    for (uint32_t i = 0; i < kCodeGroup; ++i) {
      const uint32_t code = std::to_integer<uint32_t>(in[4 * i]) >> read.shift & mask;
      const uint32_t kept = std::to_integer<uint32_t>(out[4 * i]) & ~(uint32_t{mask} << written.shift);
      out[4 * i] = static_cast<std::byte>(kept | code << written.shift);
    }
  }
  for (const size_t column : {layout.key_scales, layout.key_minimums, layout.value_scales, layout.value_minimums}) {
    for (size_t group = 0; group < layout.padded_dim / kCodeGroup * kPageSlots * 2; group += kPageSlots * 2) {
      store_half(to + column + group + size_t{to_slot} * 2, half_at(from + column + group + size_t{from_slot} * 2));
    }
  }
}

}  // namespace

void copy_entry(const PageLayout& layout, const std::byte* from, uint32_t from_slot, std::byte* to, uint32_t to_slot) {
  const auto copy = layout.codec == KvCodec::kKv16 ? copy_halves : copy_codes;
  copy(layout, from, from_slot, to, to_slot);
}

bool page_is_finite(const PageLayout& layout, const std::byte* page) {
  const size_t first = layout.codec == KvCodec::kKv16 ? 0 : layout.key_scales;
  for (size_t at = first; at < layout.bytes; at += 2) {
    if ((half_at(page + at).bits & 0x7c00u) == 0x7c00u) return false;
  }
  return true;
}

}  // namespace loci
