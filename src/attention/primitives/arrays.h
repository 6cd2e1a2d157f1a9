// What selection primitives read and write: rows of scores, masks and lists, in memory of the caller.
//
// Shapes are known when work is planned: a mask has a bit per element of its row, a list has room for a capacity; how
// many elements a list holds is a word beside it, which on a GPU lies in device memory and is never asked for by the
// host. Primitives therefore take and give these structs whole, allocate nothing, and assert that capacities suffice.
// An element is a slot, a block or a distance: the index of a column of the row it was selected from.
//
// Views, like Rows; any thread, as long as writers are apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/assert.h"
#include "tensor/rows.h"

namespace loci {

// A bit per element; bits beyond a row's length are 0.
struct Masks {
  uint64_t* words = nullptr;
  uint32_t rows = 0;
  uint32_t width = 0;  // elements of a row

  static constexpr size_t words_of(uint32_t width) { return (size_t{width} + 63) / 64; }
  size_t row_words() const { return words_of(width); }
  std::span<uint64_t> row(size_t r) const { return {words + r * row_words(), row_words()}; }
};

// Ascending elements without repetition.
struct Lists {
  uint32_t* elements = nullptr;  // [rows, capacity]
  uint32_t* counts = nullptr;    // [rows]
  uint32_t rows = 0;
  uint32_t capacity = 0;

  std::span<uint32_t> room(size_t r) const { return {elements + r * capacity, capacity}; }
  std::span<const uint32_t> row(size_t r) const { return {elements + r * capacity, counts[r]}; }
};

// How many elements of each row there are: ragged batches and causal tiles. Empty: all rows are as wide as their array.
using Lengths = std::span<const uint32_t>;

inline uint32_t length_of(Lengths lengths, size_t row, uint32_t width) {
  const uint32_t length = lengths.empty() ? width : lengths[row];
  LOCI_ASSERT(length <= width, "a row is no longer than its array");
  return length;
}

}  // namespace loci
