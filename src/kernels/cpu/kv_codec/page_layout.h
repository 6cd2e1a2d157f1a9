// How a page stores its 64 entries of one KV head: the codecs and their byte layout.
//
//   kv16  K and V as IEEE half
//   kv8   8-bit codes; per entry and group of 32 dimensions a half step s and a half minimum m:  x = s * code + m
//   kv4   the same with 4-bit codes
//
// This is QServe's per-token, per-head asymmetric code (arXiv:2405.04532) with three changes, each for accuracy at
// depth: a step per group of 32 dimensions instead of per head, since wide heads mix channels of very different range;
// keys (after RoPE) rotated by a Hadamard matrix within each group, which spreads outlier channels and leaves q.k as it
// is once the query is rotated too; and the minimum in place of the zero point, which leaves the range of a half when
// min / range is large.
//
// K lies across slots and V across dimensions ("tiles"), so that a vector holds 16 slots of a key dimension, or 16
// dimensions of a value, and integer dot products find four neighbours in a 32-bit word. What a kernel walks through in
// one go lies in one run, which hardware prefetchers follow:
//
//   kv16  K [dim][64 slots]                                  V [dim / 32][64 slots][32 dims]
//   kv8   K [2 halves][dim / 4][32 slots][4 dims]            V [dim / 32][16 slot groups][32 dims][4 slots]
//   kv4   K [2 halves][dim / 8][32 slots][4 bytes]           V [dim / 32][8 slot groups][32 dims][4 bytes]
//
// where byte i of kv4 holds numbers i (low nibble) and i + 4. Then, for kv8 and kv4: steps and minimums of K, steps and
// minimums of V, each [dim / 32][64 slots] halves.
//
// Dimensions are padded to a multiple of 32 with zeros: they add nothing to a dot product with a padded query.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace loci {

inline constexpr uint32_t kPageSlots = 64;
inline constexpr uint32_t kCodeGroup = 32;  // dimensions that share a step
inline constexpr uint32_t kKeySlots = 32;   // slots whose codes of a key lie side by side

inline constexpr uint32_t kMaxHeadDim = 512;

enum class KvCodec : uint8_t { kKv16, kKv8, kKv4 };

std::string_view to_string(KvCodec codec);
std::optional<KvCodec> kv_codec_from_name(std::string_view name);

struct PageLayout {
  KvCodec codec = KvCodec::kKv16;
  uint32_t head_dim = 0;
  uint32_t padded_dim = 0;  // head_dim rounded up to kCodeGroup
  bool rotated = false;     // keys are stored rotated: queries must be too
  uint32_t values = 0;      // byte offset of V; K is at 0
  uint32_t key_scales = 0;  // byte offsets of the four arrays of halves; equal for kv16, which has none
  uint32_t key_minimums = 0;
  uint32_t value_scales = 0;
  uint32_t value_minimums = 0;
  uint32_t bytes = 0;  // of a page, a multiple of 64
};

PageLayout page_layout(KvCodec codec, uint32_t head_dim);

// Byte offsets within a page. `dim` counts dimensions; the numbers of a kv8 or kv4 word are `per_word` dimensions of a
// key or slots of a value.
constexpr size_t key_word(const PageLayout& layout, uint32_t per_word, size_t slot, size_t dim) {
  return ((slot / kKeySlots * (layout.padded_dim / per_word) + dim / per_word) * kKeySlots + slot % kKeySlots) * 4;
}
constexpr size_t value_word(const PageLayout& layout, uint32_t per_word, size_t slot, size_t dim) {
  return layout.values +
         ((dim / kCodeGroup * (kPageSlots / per_word) + slot / per_word) * kCodeGroup + dim % kCodeGroup) * 4;
}
constexpr size_t value_half(const PageLayout& layout, size_t slot, size_t dim) {
  return layout.values + ((dim / kCodeGroup * kPageSlots + slot) * kCodeGroup + dim % kCodeGroup) * 2;
}

}  // namespace loci
