// How a page stores its 64 entries of one KV head: the codecs and their byte layout.
//
//   kv16  K and V as IEEE half
//   kv8   8-bit codes, and per entry a half scale s and a half minimum m:  x = s * code + m
//   kv4   the same with 4-bit codes (QServe, arXiv:2405.04532, with the minimum stored in place of the zero point, which leaves
//         the range of a half when min / range is large)
//
// K lies across slots and V across dimensions ("tiles"), so that a vector holds 16 slots of a key dimension, or 16 dimensions
// of a value, and integer dot products find four neighbours in a 32-bit word:
//
//   kv16  K [dim][64 slots]                       V [64 slots][dim]
//   kv8   K [dim / 4][64 slots][4 dims]           V [16 slot groups][dim][4 slots]
//   kv4   K [dim / 8][64 slots][4 bytes]          V [8 slot groups][dim][4 bytes]     byte i: low nibble i, high nibble i + 4
//   then, for kv8 and kv4: K scales [64], K minimums [64], V scales [64], V minimums [64] as halves.
//
// Dimensions are padded to a multiple of 16 with zeros (codes 0): they add nothing to a dot product with a padded query.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace loci {

inline constexpr uint32_t kPageSlots = 64;

enum class KvCodec : uint8_t { kKv16, kKv8, kKv4 };

std::string_view to_string(KvCodec codec);
std::optional<KvCodec> kv_codec_from_name(std::string_view name);

struct PageLayout {
  KvCodec codec = KvCodec::kKv16;
  uint32_t head_dim = 0;
  uint32_t padded_dim = 0;   // head_dim rounded up to 16
  uint32_t values = 0;       // byte offset of V; K is at 0
  uint32_t key_scales = 0;   // byte offsets of the four arrays of 64 halves; equal for kv16, which has none
  uint32_t key_minimums = 0;
  uint32_t value_scales = 0;
  uint32_t value_minimums = 0;
  uint32_t bytes = 0;        // of a page, a multiple of 64
};

PageLayout page_layout(KvCodec codec, uint32_t head_dim);

}  // namespace loci
