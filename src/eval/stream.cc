#include "eval/stream.h"

#include <algorithm>
#include <numeric>

namespace loci {
namespace {

// Places of pairs in their new order; fewer than all if only pairs of one key were left.
std::vector<size_t> try_order(const std::vector<KeyedValue>& pairs, PythonRandom& random) {
  std::vector<size_t> left(pairs.size());
  std::iota(left.begin(), left.end(), size_t{0});
  random.shuffle(left);
  std::vector<size_t> order{left.back()};
  left.pop_back();
  std::vector<size_t> others;  // places in `left`
  while (!left.empty()) {
    others.clear();
    for (size_t i = 0; i < left.size(); ++i) {
      if (pairs[left[i]].key != pairs[order.back()].key) others.push_back(i);
    }
    if (others.empty()) return order;
    const size_t next = random.choice(others);
    order.push_back(left[next]);
    left.erase(left.begin() + static_cast<ptrdiff_t>(next));
  }
  return order;
}

}  // namespace

std::vector<KeyedValue> without_repeats(std::vector<KeyedValue> pairs, PythonRandom& random) {
  if (pairs.size() < 2) return pairs;
  std::vector<size_t> order;
  while (order.size() < pairs.size()) order = try_order(pairs, random);
  std::vector<KeyedValue> out;
  out.reserve(pairs.size());
  for (const size_t i : order) out.push_back(std::move(pairs[i]));
  return out;
}

}  // namespace loci
