// What tests of decode Selects compare with: scores in plain loops, and rows whose queries stay alike for some steps.
#pragma once

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "attention/one_layer.h"
#include "base/half.h"

namespace loci::test {

constexpr float kUnread = -std::numeric_limits<float>::infinity();

inline double plain_score(const Rows3& x, const ModelShape& model, uint32_t row, uint32_t query_head, uint32_t entry) {
  const float* q = &x.q[row * model.q_width() + size_t{query_head} * model.head_dim];
  const float* k = &x.k[(size_t{entry} * model.kv_heads + query_head / model.group()) * model.head_dim];
  double sum = 0;
  for (uint32_t d = 0; d < model.head_dim; ++d) sum += double{q[d]} * k[d];
  return sum;
}

// The `count` largest of x from `first` on, ties to the lower index.
inline std::vector<uint32_t> largest(const std::vector<double>& x, uint32_t first, uint32_t count) {
  std::vector<uint32_t> order;
  for (auto i = first; i < x.size(); ++i) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return x[a] > x[b]; });
  order.resize(std::min<size_t>(order.size(), count));
  return order;
}

// Random rows whose keys and values are halves, so that kv16 stores them as they are, and whose queries change
// altogether every `run` rows and a little in between.
inline Rows3 alike_rows(const OneLayer& layer, uint32_t rows, uint32_t seed, uint32_t run) {
  Rows3 x = layer.random_rows(rows, seed);
  for (std::vector<float>* side : {&x.k, &x.v}) {
    for (float& y : *side) y = to_float(to_half(y));
  }
  std::mt19937 random(seed + 1);
  std::normal_distribution<float> normal(0, 0.2F);
  const size_t width = layer.model().q_width();
  for (uint32_t r = 0; r < rows; ++r) {
    if (r % run == 0) continue;
    for (size_t i = 0; i < width; ++i) x.q[r * width + i] = x.q[(r - r % run) * width + i] + normal(random);
  }
  return x;
}

}  // namespace loci::test
