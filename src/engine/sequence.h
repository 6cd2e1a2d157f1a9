// One sequence: its tokens, and what the cache holds of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "attention/stages/model_shape.h"
#include "attention/stages/sequence_state.h"
#include "cache/sequence_cache.h"
#include "engine/bound_plan.h"
#include "loci/types.h"

namespace loci {

struct Sequence {
  explicit Sequence(std::shared_ptr<const BoundPlan> of) : plan(std::move(of)), cache(plan->cache) {}
  Sequence(std::shared_ptr<const BoundPlan> of, SequenceCache begun) : plan(std::move(of)), cache(std::move(begun)) {}

  // The same sequence, to go its own way; pages are shared until one of the two writes.
  Sequence fork() const {
    Sequence copy(plan, cache.fork());
    copy.state = state;
    copy.facts = facts;
    copy.salt = salt;
    copy.tokens = tokens;
    copy.prompt_tokens = prompt_tokens;
    copy.decode_from = decode_from;
    copy.remembered_blocks = remembered_blocks;
    return copy;
  }

  // Rows of it that a pass takes in which `prompt_rows_used` rows of prompts are taken: one of a decode step, or a
  // chunk, which ends where decode steps begin. 0: not in this pass.
  uint32_t next_rows(uint32_t prompt_rows_used) const {
    const uint32_t fed = cache.tokens();
    if (fed >= decode_from) return 1;
    return plan->layout.chunking.rows(fed, std::min(unfed(), decode_from - fed), prompt_rows_used);
  }

  std::shared_ptr<const BoundPlan> plan;
  SequenceCache cache;
  SequenceState state;
  RequestFacts facts;  // of the request that feeds it
  std::string salt;    // prompts share pages only with those of the same salt
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
