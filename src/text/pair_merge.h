// The merging loop that byte pair encoding and SentencePiece share: of all adjacent pairs of symbols that form a token,
// the best is merged (the leftmost of equals), until no pair forms one. A heap over a linked list: n log n for n
// symbols.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "loci/types.h"

namespace loci {

struct Symbol {
  uint32_t begin = 0, length = 0;  // in the piece; length 0: merged into a symbol before it
  TokenId id = -1;
  int32_t previous = -1, next = -1;
};

template <typename Priority>
struct Merge {
  Priority priority;  // the smallest goes first
  TokenId id;
};

template <typename Priority>
struct MergeCandidate {
  Priority priority;
  uint32_t left;    // index of the left symbol
  uint32_t length;  // of both together: tells whether either has changed since
  TokenId id;

  // For a heap whose top is the best candidate.
  bool operator<(const MergeCandidate& other) const {
    return priority != other.priority ? priority > other.priority : left > other.left;
  }
};

// Sets the links of `symbols`, which follow each other, and merges them in place; those left over have a length.
// `find(left, right)` returns std::optional<Merge<Priority>>. `heap` is scratch.
template <typename Priority, typename Find>
void merge_pairs(std::vector<Symbol>& symbols, std::vector<MergeCandidate<Priority>>& heap, Find&& find) {
  const auto candidate = [&](int32_t left, int32_t right) -> std::optional<MergeCandidate<Priority>> {
    const Symbol& a = symbols[static_cast<size_t>(left)];
    const Symbol& b = symbols[static_cast<size_t>(right)];
    const std::optional<Merge<Priority>> merge = find(a, b);
    if (!merge) return std::nullopt;
    return MergeCandidate<Priority>{merge->priority, static_cast<uint32_t>(left), a.length + b.length, merge->id};
  };
  const auto push = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    if (const auto c = candidate(left, right)) {
      heap.push_back(*c);
      std::push_heap(heap.begin(), heap.end());
    }
  };

  heap.clear();
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[static_cast<size_t>(i)].previous = i - 1;
    symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
    if (i == 0) continue;
    if (const auto c = candidate(i - 1, i)) heap.push_back(*c);
  }
  std::make_heap(heap.begin(), heap.end());

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const MergeCandidate<Priority> best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[best.left];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    if (left.length + right.length != best.length) continue;
    left.length = best.length;
    left.id = best.id;
    left.next = right.next;
    right.length = 0;
    const auto index = static_cast<int32_t>(best.left);
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = index;
    push(left.previous, index);
    push(index, left.next);
  }
}

}  // namespace loci
