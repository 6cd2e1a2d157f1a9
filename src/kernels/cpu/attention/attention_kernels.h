// The arithmetic of a softmax read: rows of queries fold blocks of 64 entries into running states.
//
// A state holds, per row, the maximum score m, the sum l of exp(score - m), and o = sum of exp(score - m) * v. States
// of disjoint sets of entries merge into the state of their union (flash attention's rescaling), and an empty state is
// m = -inf, l = 0, o = 0. A row's operations do not depend on the rows beside it, and a block in which a row sees
// nothing leaves its state as it was, bit for bit.
//
// Rows of a prompt come in large tiles, so a page is decoded once for all of them; a decode step has the few query
// heads of a group, and its kernels multiply the page's own bytes. Both are chosen by phase, codec and precision, never
// by the number of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/cpu.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

enum class ReadPhase : uint8_t {
  kPrompt,  // rows of a prompt's chunk
  kDecode,  // one row of a sequence
};

enum class ReadPrecision : uint8_t {
  kFp32,  // every product in fp32
  kFast,  // products of bfloat16 or integers with fp32 sums, where the machine has them at a higher rate
};

// Slots [first, last) of a block of 64 that a row sees; empty if first >= last.
struct VisibleSlots {
  int first;
  int last;
};

// States of consecutive rows. Non-owning.
struct SoftmaxState {
  float* m;  // [rows]
  float* l;  // [rows]
  float* o;  // [rows, dim]
};

// One block of entries before the rows of a tile. `dim` is the padded head width, a multiple of 32.
struct BlockRead {
  const std::byte* queries;  // what load_query wrote
  size_t rows;
  size_t dim;
  const PageLayout* layout;
  const std::byte* page;        // the block's page
  const std::byte* next_page;   // the page to be read after it, to be fetched meanwhile; never null
  const std::byte* block;       // what load_block made of the page
  const VisibleSlots* visible;  // [rows]; null if every row sees all 64. Decode: the same for all rows
  float* scores;                // scratch of [rows, 64]
  SoftmaxState state;
};

struct ReadKernel {
  std::string_view arithmetic;  // for `loci doctor`
  // Writes row `row` of `rows`: q [dim], already scaled, and rotated if the keys are.
  void (*load_query)(const float* q, size_t row, size_t rows, size_t dim, std::byte* queries);
  // Decodes a page for fold; null where fold reads the page itself.
  void (*load_block)(const PageLayout& layout, const std::byte* page, std::byte* block);
  void (*fold)(const BlockRead& block);
};

// Bytes that load_query and load_block of any kernel write, at most.
constexpr size_t query_bytes(size_t rows, size_t dim) { return (rows + 5) * (dim + 16) * sizeof(float); }
constexpr size_t block_bytes(size_t dim) { return 2 * dim * kPageSlots * sizeof(float); }

const ReadKernel& read_kernel(Isa isa, KvCodec codec, ReadPhase phase, ReadPrecision precision);

// into = the state of both sets.
using MergeStates = void (*)(SoftmaxState into, SoftmaxState from, size_t rows, size_t dim);
MergeStates merge_states(Isa isa);

void clear(SoftmaxState state, size_t rows, size_t dim);

}  // namespace loci
