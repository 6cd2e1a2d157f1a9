// A stream of values for keys, in an order in which no key comes twice in a row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/python_random.h"

namespace loci {

struct KeyedValue {
  uint32_t key = 0;
  std::string value;
};

// PI-LLM's shuffle, draw for draw (pseudo_randomize): each next pair is drawn from all that have another key than the
// last one; if there is none, all begins anew. Values keep no order within a key. Costs the square of the pairs.
// At least two keys have equally many pairs, or there is but one pair: else there may be no such order.
std::vector<KeyedValue> without_repeats(std::vector<KeyedValue> pairs, PythonRandom& random);

}  // namespace loci
