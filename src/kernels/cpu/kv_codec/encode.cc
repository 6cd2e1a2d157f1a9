#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr float kHalfMax = 65504.0F;

float bounded(float x) {
  if (std::isnan(x)) return 0.0F;
  return std::clamp(x, -kHalfMax, kHalfMax);
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

struct Scale {
  Half step;
  Half minimum;
};

// x [kCodeGroup] is bounded.
Scale scale_of(const float* x, float levels) {
  const auto [low, high] = std::minmax_element(x, x + kCodeGroup);
  Half minimum = round_down(*low);
  if (!std::isfinite(to_float(minimum))) minimum = to_half(-kHalfMax);
  return {round_up_positive((*high - to_float(minimum)) / levels), minimum};
}

uint32_t code_of(float x, float step, float minimum, float levels) {
  if (step == 0.0F) return 0;
  // lrint is one instruction everywhere, nearbyint a call; a code out of range is at most a step out.
  return static_cast<uint32_t>(std::clamp(std::lrint((x - minimum) / step), 0L, std::lrint(levels)));
}

// Where a code lies: a whole byte of kv8, a nibble of kv4.
struct CodePlace {
  size_t byte;
  int shift;
};

CodePlace key_place(const PageLayout& layout, uint32_t slot, uint32_t dim) {
  if (layout.codec == KvCodec::kKv8) return {key_word(layout, 4, slot, dim) + dim % 4, 0};
  return {key_word(layout, 8, slot, dim) + dim % 4, dim % 8 < 4 ? 0 : 4};
}

CodePlace value_place(const PageLayout& layout, uint32_t slot, uint32_t dim) {
  if (layout.codec == KvCodec::kKv8) return {value_word(layout, 4, slot, dim) + slot % 4, 0};
  return {value_word(layout, 8, slot, dim) + slot % 4, slot % 8 < 4 ? 0 : 4};
}

void write_code(const PageLayout& layout, std::byte* page, CodePlace place, uint32_t code) {
  if (layout.codec == KvCodec::kKv8) {
    page[place.byte] = static_cast<std::byte>(code);
    return;
  }
  const uint32_t kept = std::to_integer<uint32_t>(page[place.byte]) & (place.shift == 0 ? 0xf0u : 0x0fu);
  page[place.byte] = static_cast<std::byte>(kept | (code << place.shift));
}

size_t key_half(uint32_t slot, uint32_t dim) { return (size_t{dim} * kPageSlots + slot) * 2; }
using Place = CodePlace (*)(const PageLayout&, uint32_t slot, uint32_t dim);

// x [padded_dim], bounded.
void encode_side(const PageLayout& layout, std::byte* page, uint32_t slot, const float* x, Place place, size_t steps,
                 size_t minimums) {
  const float levels = layout.codec == KvCodec::kKv8 ? 255.0F : 15.0F;
  for (uint32_t group = 0; group < layout.padded_dim / kCodeGroup; ++group) {
    const float* part = x + size_t{group} * kCodeGroup;
    const Scale scale = scale_of(part, levels);
    const float step = to_float(scale.step);
    const float minimum = to_float(scale.minimum);
    for (uint32_t i = 0; i < kCodeGroup; ++i) {
      write_code(layout, page, place(layout, slot, group * kCodeGroup + i), code_of(part[i], step, minimum, levels));
    }
    const size_t column = (size_t{group} * kPageSlots + slot) * 2;
    store_half(page + steps + column, scale.step);
    store_half(page + minimums + column, scale.minimum);
  }
}

void pad(const PageLayout& layout, const float* x, float* padded) {
  for (uint32_t i = 0; i < layout.head_dim; ++i) padded[i] = bounded(x[i]);
  std::fill(padded + layout.head_dim, padded + layout.padded_dim, 0.0F);
}

}  // namespace

void encode_entry(const PageLayout& layout, std::byte* page, uint32_t slot, const float* k, const float* v) {
  float key[kMaxHeadDim];
  float value[kMaxHeadDim];
  pad(layout, k, key);
  pad(layout, v, value);
  if (layout.codec == KvCodec::kKv16) {
    for (uint32_t dim = 0; dim < layout.padded_dim; ++dim) {
      store_half(page + key_half(slot, dim), to_half(key[dim]));
      store_half(page + value_half(layout, slot, dim), to_half(value[dim]));
    }
    return;
  }
  rotate_groups(key, layout.padded_dim);
  for (uint32_t dim = 0; dim < layout.padded_dim; ++dim) key[dim] = bounded(key[dim]);
  encode_side(layout, page, slot, key, key_place, layout.key_scales, layout.key_minimums);
  encode_side(layout, page, slot, value, value_place, layout.value_scales, layout.value_minimums);
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
