#include "engine/memory_picture.h"

#include <algorithm>

#include "base/checked.h"

namespace loci {
namespace {

// Entries of a table at positions [first, last) that a next token would read.
uint32_t kept_between(const Table& table, const Pattern& pattern, uint32_t next, uint32_t first, uint32_t last) {
  const auto slots = [&](uint32_t from, uint32_t to) {
    return from < to ? table.slots_before(TokenPos(to)) - table.slots_before(TokenPos(from)) : 0;
  };
  return slots(first, std::min(last, pattern.sinks)) + slots(std::max(first, pattern.oldest(next)), last);
}

}  // namespace

std::vector<float> kept_shares(const SequenceCache& cache, LayerId layer, size_t table, uint32_t stretch,
                               uint32_t stretches) {
  std::vector<float> out(stretches, 0.0F);
  for (uint32_t s = 0; s < stretches; ++s) {
    const uint32_t first = s * stretch, last = std::min(cache.tokens(), first + stretch);
    if (last <= first) break;
    const uint32_t kept =
        kept_between(cache.tables(layer)[table], cache.pattern(layer, table), cache.tokens(), first, last);
    out[s] = static_cast<float>(kept) / static_cast<float>(last - first);
  }
  return out;
}

std::vector<HeldHeads> held_heads(const SequenceCache& cache, size_t layers, uint32_t stretches) {
  std::vector<HeldHeads> out;
  const uint32_t tokens = cache.tokens();
  const uint32_t stretch = stretches == 0 ? 0 : std::max(1u, static_cast<uint32_t>(div_up(tokens, stretches)));
  const uint32_t shown = stretch == 0 ? 0 : static_cast<uint32_t>(div_up(tokens, stretch));
  for (uint32_t l = 0; l < layers; ++l) {
    const LayerId layer(l);
    for (size_t t = 0; t < cache.tables(layer).size(); ++t) {
      const Table& table = cache.tables(layer)[t];
      HeldHeads& held = out.emplace_back();
      held.layer = l;
      for (const KvHead head : table.heads()) held.kv_heads.push_back(head.value);
      held.kept = kept_between(table, cache.pattern(layer, t), tokens, 0, tokens);
      held.bytes = table.page_bytes();
      held.where = kept_shares(cache, layer, t, stretch, shown);
    }
  }
  return out;
}

}  // namespace loci
