// Scores of queries against keys: exact against the keys as they are stored, or estimated against pooled keys.
//
// Shapes. A job is one KV head of one sequence: queries [rows, padded_dim] (query heads of the group, query tiles, or
// pooled queries) against `count` keys; scores [rows, >= count rounded up to 64]. Columns at and beyond `count` hold
// numbers without meaning. Jobs of a call may differ in every number. Masking is the business of what reads the scores:
// it takes lengths.
//
// Numbers. A score is one chain of fused multiply-adds over the dimensions in ascending order, so it depends on the
// query, the key and the codec alone, and is the same on every instruction set. Jobs of Products::kTiles are scored as
// a prompt is read, in bfloat16 where the machine is faster in that (kernels/cpu/select/score_tiles.h), which depends
// on query, key and codec alone too.
//
// Cost. Exact: each page is read once per call, half the bytes of a dense read, and rows * dim multiply-adds a key;
// near the roof of memory for the rows of a decode step. Estimated: 1/64 of the keys, in fp32. Work is shared among
// workers by runs of pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "attention/primitives/arrays.h"
#include "kernels/cpu/kv_codec/page_layout.h"
#include "ops/context.h"

namespace loci {

// Keys in slot order: encoded pages of 64 slots, or fp32 tiles of 64 keys, [tile][padded_dim][64]. Where a page is
// null, nothing is scored.
struct Keys {
  const PageLayout* layout = nullptr;       // of the pages; for tiles: of the pages they were pooled from
  std::span<const std::byte* const> pages;  // empty: tiles
  const float* tiles = nullptr;
  uint32_t count = 0;
};

inline constexpr uint32_t kScoreBlock = 512;  // keys that a worker takes at a time

// Exponentials of a row's scores, added up block by block where they are made: what a softmax needs, at no pass of its
// own. Block b is keys b * kScoreBlock and following; those in [first, last) count.
struct ExpSums {
  Rows largest;  // [rows, blocks]: -inf where a block has none
  Rows sums;     // [rows, blocks]: of exp(score - largest)
  uint32_t first = 0;
  uint32_t last = 0;
};

enum class Products : uint8_t {
  kFp32,
  kTiles,  // bfloat16 where the machine is faster in it: for the many queries of a prompt
};

struct ScoreJob {
  Keys keys;
  Rows queries;  // prepared, without gaps between rows
  Rows scores;
  Products products = Products::kFp32;
  ExpSums exps = {};  // without data: not wanted
};

// Queries as scores() wants them: scaled, padded with zeros to layout.padded_dim, rotated if the keys are.
// q [rows, head_dim], out [rows, padded_dim].
void prepare_queries(const PageLayout& layout, const Rows& q, float scale, Rows out);

void scores(OpContext& context, std::span<const ScoreJob> jobs);
// The logarithm of row r's sum of exponentials, for sums that scores() made.
float log_sum_exp(const ExpSums& exps, size_t r);
// Bytes of context.scratch that scores() takes.
size_t scores_scratch_bytes(uint32_t padded_dim, size_t jobs, int threads);

// The mean of the first `slots` keys of a page becomes key `index` of the tiles. scratch [padded_dim, 64].
void pool_keys(const PageLayout& layout, const std::byte* page, uint32_t slots, Isa isa, float* scratch, float* tiles,
               uint32_t index);

}  // namespace loci
