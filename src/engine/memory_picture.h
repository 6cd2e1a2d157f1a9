// What the cache holds of a sequence, told for people: which KV heads keep how many entries, and of which stretches.
// Looks at tables and patterns, never at entries: a binary search for each border of a stretch.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cache/sequence_cache.h"

namespace loci {

// KV heads of one layer that keep the same tokens of a sequence.
struct HeldHeads {
  uint32_t layer = 0;
  std::vector<uint32_t> kv_heads;
  uint64_t kept = 0;         // entries of each of them that a next token may read
  uint64_t bytes = 0;        // of their pages
  std::vector<float> where;  // kept share of each stretch of the sequence
};

// A sequence while a request runs, and how fast it got there.
struct MemoryPicture {
  uint32_t tokens = 0;  // that have been read, generated ones included
  uint32_t prompt_tokens = 0;
  uint32_t cached_tokens = 0;  // of the prompt, taken from earlier work
  uint32_t generated = 0;
  double prompt_seconds = 0;  // until the first token, or so far
  double decode_seconds = 0;  // of `decode_steps` steps after the first token
  uint32_t decode_steps = 0;
  bool last = false;             // nothing follows
  uint64_t kv_bytes = 0;         // of the sequence's pages
  std::vector<HeldHeads> heads;  // layer by layer; every KV head in one of them
};

// How a request's memory is looked at: after each pass that reads its prompt, after the last one, and between them.
struct MemoryWatch {
  uint32_t every = 16;     // decode steps from one picture to the next, at least 1
  uint32_t stretches = 0;  // equal ones that the sequence is cut into, at most; 0: `where` stays empty
  std::function<void(uint32_t choice, const MemoryPicture& picture)> on_picture = {};  // null: nothing is looked at
};

// Shares of the entries that the heads of a layer's `table` would read for a next token, by stretches of `stretch`
// positions.
std::vector<float> kept_shares(const SequenceCache& cache, LayerId layer, size_t table, uint32_t stretch,
                               uint32_t stretches);

// The heads of all layers, in `stretches` equal stretches of the tokens read so far at most, the last one possibly
// shorter.
std::vector<HeldHeads> held_heads(const SequenceCache& cache, size_t layers, uint32_t stretches);

}  // namespace loci
