// Rows, masks and lists with their memory, filled at random: what tests of the primitives share.
#pragma once

#include <fmt/format.h>

#include <limits>
#include <random>
#include <string>
#include <vector>

#include "attention/primitives/arrays.h"
#include "ops/context.h"

namespace loci::primitive_arrays {

inline constexpr float kNone = -std::numeric_limits<float>::infinity();

struct Random {
  std::mt19937 rng;
  explicit Random(uint32_t seed) : rng(seed) {}
  uint32_t below(uint32_t n) { return rng() % n; }
  float uniform() { return static_cast<float>(rng() >> 8) * 0x1p-24F; }
  float normal() {
    float sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
};

// Rows with their memory; a stride wider than the row, so that neighbours would be noticed.
struct Grid {
  std::vector<float> numbers;
  Rows rows;
  Grid(uint32_t count, uint32_t width, uint32_t gap = 3) : numbers(count * (width + gap), -77.0F) {
    rows = {numbers.data(), count, width, width + gap};
  }
  std::vector<float> row(size_t r) const {
    const float* begin = numbers.data() + r * rows.stride;
    return {begin, begin + rows.width};
  }
};

inline Grid filled(Random& random, uint32_t count, uint32_t width, bool crowded) {
  Grid out(count, width);
  for (uint32_t r = 0; r < count; ++r) {
    for (float& x : out.rows.span(r)) x = crowded ? static_cast<float>(random.below(7)) / 4 : random.normal();
  }
  return out;
}

struct MaskArray {
  std::vector<uint64_t> words;
  Masks masks;
  MaskArray(uint32_t rows, uint32_t width) : words(rows * Masks::words_of(width)) {
    masks = {words.data(), rows, width};
  }
  std::vector<uint32_t> row(size_t r) const {
    std::vector<uint32_t> out;
    for (uint32_t i = 0; i < masks.row_words() * 64; ++i) {
      if ((masks.row(r)[i / 64] >> i % 64) & 1) out.push_back(i);
    }
    return out;
  }
};

struct ListArray {
  std::vector<uint32_t> elements, counts;
  Lists lists;
  ListArray(uint32_t rows, uint32_t capacity) : elements(size_t{rows} * capacity + 1, 99), counts(rows, 99) {
    lists = {elements.data(), counts.data(), rows, capacity};
  }
  std::vector<uint32_t> row(size_t r) const {
    const auto view = lists.row(r);
    return {view.begin(), view.end()};
  }
};

inline std::vector<uint32_t> random_lengths(Random& random, uint32_t rows, uint32_t width) {
  std::vector<uint32_t> out(rows);
  for (uint32_t& n : out) n = random.below(width + 1);
  return out;
}

// Calls body(context, name) for every instruction set with one and with three workers.
template <typename Body>
void everywhere(Body body) {
  Result<Workspace> scratch = Workspace::allocate(1 << 20);
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const Isa isa : supported_isas()) {
      OpContext context{pool, isa, *scratch};
      body(context, fmt::format("{} x {}", to_string(isa), threads));
    }
  }
}

}  // namespace loci::primitive_arrays
