#include "serve/memory_event.h"

#include <cmath>

namespace loci {

using nlohmann::ordered_json;

std::optional<MemoryWatch> read_memory(Fields& fields, bool stream, std::optional<ApiError>& problem) {
  const ordered_json* asked = fields.object("memory");
  if (asked == nullptr) return std::nullopt;
  MemoryWatch out;
  Fields inner(*asked, "memory", problem);
  out.every = static_cast<uint32_t>(inner.integer("every", 1, INT32_MAX).value_or(out.every));
  out.stretches = static_cast<uint32_t>(inner.integer("stretches", 0, 256).value_or(out.stretches));
  inner.refuse_unknown();
  if (!stream) fields.wrong("memory", "it has a meaning with 'stream': true only");
  return out;
}

ordered_json memory_json(uint32_t choice, const MemoryPicture& picture) {
  ordered_json heads = ordered_json::array();
  for (const HeldHeads& held : picture.heads) {
    ordered_json where = ordered_json::array();
    for (const float share : held.where) where.push_back(std::lround(100 * share));
    heads.push_back({{"layer", held.layer},
                     {"kv_heads", held.kv_heads},
                     {"kept", held.kept},
                     {"bytes", held.bytes},
                     {"where", std::move(where)}});
  }
  return {{"index", choice},
          {"tokens", picture.tokens},
          {"prompt_tokens", picture.prompt_tokens},
          {"cached_tokens", picture.cached_tokens},
          {"completion_tokens", picture.generated},
          {"prompt_seconds", picture.prompt_seconds},
          {"decode_seconds", picture.decode_seconds},
          {"decode_steps", picture.decode_steps},
          {"last", picture.last},
          {"kv_bytes", picture.kv_bytes},
          {"heads", std::move(heads)}};
}

}  // namespace loci
