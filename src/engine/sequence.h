// One sequence: its tokens, and what the cache holds of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "attention/stages/model_shape.h"
#include "attention/stages/sequence_state.h"
#include "cache/sequence_cache.h"
#include "loci/types.h"

namespace loci {

struct Sequence {
  explicit Sequence(const CacheLayout& layout) : cache(layout) {}
  explicit Sequence(SequenceCache begun) : cache(std::move(begun)) {}

  // The same sequence, to go its own way; pages are shared until one of the two writes.
  Sequence fork() const {
    Sequence copy(cache.fork());
    copy.state = state;
    copy.facts = facts;
    copy.tokens = tokens;
    copy.prompt_tokens = prompt_tokens;
    copy.decode_from = decode_from;
    copy.remembered_blocks = remembered_blocks;
    return copy;
  }

  SequenceCache cache;
  SequenceState state;
  RequestFacts facts;  // of the request that feeds it
  // All tokens, of which the first cache.tokens() have been fed. The last generated one is fed with what follows it.
  std::vector<TokenId> tokens;
  // Tokens before the first generated one: only their blocks may be shared by prefix, since entries born in decode
  // steps equal those of a prompt to rounding only.
  uint32_t prompt_tokens = 0;
  // Where the tokens that are being generated begin: from here on single rows are decode steps, before it rows of a
  // prompt, however small the chunk.
  uint32_t decode_from = std::numeric_limits<uint32_t>::max();
  uint32_t remembered_blocks = 0;  // handed to the prefix index, or taken from it

  // As SequenceCache::trim, for what methods remember too.
  bool trim(uint32_t count) {
    if (!cache.trim(count)) return false;
    state.trim(count);
    remembered_blocks = std::min(remembered_blocks, count / kPageSlots);
    return true;
  }
  // Forgets everything but the tokens: they are fed anew.
  void clear() {
    cache.clear();
    state.clear();
    remembered_blocks = 0;
  }

  uint32_t unfed() const { return static_cast<uint32_t>(tokens.size()) - cache.tokens(); }
};

}  // namespace loci
