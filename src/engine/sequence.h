// One sequence: its tokens, and what the cache holds of them.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "cache/sequence_cache.h"
#include "loci/types.h"

namespace loci {

struct Sequence {
  explicit Sequence(const CacheLayout& layout) : cache(layout) {}

  SequenceCache cache;
  // All tokens, of which the first cache.tokens() have been fed. The last generated one is fed with what follows it.
  std::vector<TokenId> tokens;
  // Tokens before the first generated one: only their blocks may be shared by prefix, since entries born in decode
  // steps equal those of a prompt to rounding only.
  uint32_t prompt_tokens = 0;
  // Where the tokens that are being generated begin: from here on single rows are decode steps, before it rows of a
  // prompt, however small the chunk.
  uint32_t decode_from = std::numeric_limits<uint32_t>::max();
  uint32_t remembered_blocks = 0;  // handed to the prefix index, or taken from it

  uint32_t unfed() const { return static_cast<uint32_t>(tokens.size()) - cache.tokens(); }
};

}  // namespace loci
