#include "kernels/cpu/kv_codec/page_layout.h"

#include "base/checked.h"

namespace loci {
namespace {

struct CodecRow {
  KvCodec codec;
  std::string_view name;
  uint32_t bits;
};
constexpr CodecRow kCodecs[] = {{KvCodec::kKv16, "kv16", 16}, {KvCodec::kKv8, "kv8", 8}, {KvCodec::kKv4, "kv4", 4}};

}  // namespace

std::string_view to_string(KvCodec codec) { return kCodecs[static_cast<size_t>(codec)].name; }

std::optional<KvCodec> kv_codec_from_name(std::string_view name) {
  for (const CodecRow& row : kCodecs) {
    if (row.name == name) return row.codec;
  }
  return std::nullopt;
}

PageLayout page_layout(KvCodec codec, uint32_t head_dim) {
  PageLayout layout;
  layout.codec = codec;
  layout.head_dim = head_dim;
  layout.padded_dim = static_cast<uint32_t>(round_up(head_dim, kCodeGroup));
  layout.rotated = codec != KvCodec::kKv16;
  const uint32_t side = layout.padded_dim * kPageSlots * kCodecs[static_cast<size_t>(codec)].bits / 8;
  layout.values = side;
  const uint32_t column = codec == KvCodec::kKv16 ? 0 : layout.padded_dim / kCodeGroup * kPageSlots * 2;
  layout.key_scales = 2 * side;
  layout.key_minimums = layout.key_scales + column;
  layout.value_scales = layout.key_minimums + column;
  layout.value_minimums = layout.value_scales + column;
  layout.bytes = layout.value_minimums + column;
  return layout;
}

}  // namespace loci
