// The fp32 register tile that attention and the selection of entries share.
#pragma once

#include <cstddef>

namespace loci {

// sum[r][v] += over i of left[r][i] * right(i, v), for R rows and V vectors of columns, one chain each.
template <typename Vec16, int R, int V, typename Right>
[[gnu::always_inline]] inline void multiply_tile(const float* left, size_t left_stride, const Right& right,
                                                 size_t length, Vec16 (&sum)[R][V]) {
  for (size_t i = 0; i < length; ++i) {
    Vec16 column[V];
    for (int v = 0; v < V; ++v) column[v] = right(i, size_t(v));
    for (int r = 0; r < R; ++r) {
      const Vec16 x = Vec16::broadcast(left[size_t(r) * left_stride + i]);
      for (int v = 0; v < V; ++v) sum[r][v] = fma(x, column[v], sum[r][v]);
    }
  }
}

}  // namespace loci
