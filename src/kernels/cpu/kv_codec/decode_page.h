// The body of the decode kernels, written once over Vec16 and instantiated by decode_scalar.cc, decode_avx2.cc and
// decode_avx512.cc.
#pragma once

#include "base/half.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {

template <typename Vec16>
void decode_keys(const PageLayout& layout, const std::byte* page, float* tile) {
  if (layout.codec == KvCodec::kKv16) {
    const uint16_t* halves = reinterpret_cast<const uint16_t*>(page);
    for (size_t i = 0; i < size_t{layout.padded_dim} * kPageSlots; i += 16)
      Vec16::load_half(halves + i).store(tile + i);
    return;
  }
  const uint16_t* scales = reinterpret_cast<const uint16_t*>(page + layout.key_scales);
  const uint16_t* minimums = reinterpret_cast<const uint16_t*>(page + layout.key_minimums);
  const bool bytes = layout.codec == KvCodec::kKv8;
  const uint32_t group_dims = bytes ? 4 : 8;
  for (uint32_t slot = 0; slot < kPageSlots; slot += 16) {
    for (uint32_t group = 0; group < layout.padded_dim / group_dims; ++group) {
      const size_t column = size_t{group} * group_dims / kCodeGroup * kPageSlots + slot;
      const Vec16 scale = Vec16::load_half(scales + column);
      const Vec16 minimum = Vec16::load_half(minimums + column);
      const std::byte* words = page + key_word(layout, group_dims, slot, size_t{group} * group_dims);
      float* out = tile + size_t{group} * group_dims * kPageSlots + slot;
      for (uint32_t i = 0; i < group_dims; ++i) {
        const int shift = static_cast<int>(i < 4 ? 8 * i : 8 * (i - 4) + 4);
        fma(Vec16::load_field(words, shift, bytes ? 255u : 15u), scale, minimum).store(out + size_t{i} * kPageSlots);
      }
    }
  }
}

template <typename Vec16>
void decode_values(const PageLayout& layout, const std::byte* page, float* tile) {
  const size_t dims = layout.padded_dim;
  if (layout.codec == KvCodec::kKv16) {
    for (size_t slot = 0; slot < kPageSlots; ++slot) {
      for (size_t dim = 0; dim < dims; dim += 16) {
        const std::byte* halves = page + value_half(layout, slot, dim);
        Vec16::load_half(reinterpret_cast<const uint16_t*>(halves)).store(tile + slot * dims + dim);
      }
    }
    return;
  }
  const uint16_t* scales = reinterpret_cast<const uint16_t*>(page + layout.value_scales);
  const uint16_t* minimums = reinterpret_cast<const uint16_t*>(page + layout.value_minimums);
  const bool bytes = layout.codec == KvCodec::kKv8;
  const uint32_t group_slots = bytes ? 4 : 8;
  for (uint32_t slot = 0; slot < kPageSlots; ++slot) {
    const uint32_t i = slot % group_slots;
    const int shift = static_cast<int>(i < 4 ? 8 * i : 8 * (i - 4) + 4);
    for (size_t dim = 0; dim < dims; dim += 16) {
      const size_t column = dim / kCodeGroup * kPageSlots + slot;
      const Vec16 scale = Vec16::broadcast(to_float(Half{scales[column]}));
      const Vec16 minimum = Vec16::broadcast(to_float(Half{minimums[column]}));
      fma(Vec16::load_field(page + value_word(layout, group_slots, slot, dim), shift, bytes ? 255u : 15u), scale,
          minimum)
          .store(tile + slot * dims + dim);
    }
  }
}

template <typename Vec16>
inline constexpr KvDecodeKernels kDecodeKernels = {decode_keys<Vec16>, decode_values<Vec16>};

}  // namespace loci
