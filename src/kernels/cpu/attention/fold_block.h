// The body of the attention kernels, written once over a vector namespace (Vec16 and its tile sizes) and instantiated
// by fold_scalar.cc, fold_avx2.cc and fold_avx512.cc.
//
// Every score is one chain of fused multiply-adds over the dimensions in ascending order, every output one chain over
// the 64 slots: tile shapes change speed, never bits. Near the FMA roof once a tile has kTileRows rows; below that,
// bound by loads.
#pragma once

#include <limits>

#include "kernels/cpu/attention/attention_kernels.h"
#include "kernels/cpu/kv_codec/page_layout.h"
#include "kernels/cpu/math/exp_scalar.h"

namespace loci {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// out[r][c] (+)= sum over i of left[r][i] * right[i][c], for R rows and V vectors of columns, one chain each.
template <typename Vec16, int R, int V>
[[gnu::always_inline]] inline void multiply_tile(const float* left, size_t left_stride, const float* right,
                                                 size_t right_stride, size_t length, Vec16 (&sum)[R][V]) {
  for (size_t i = 0; i < length; ++i) {
    Vec16 column[V];
    for (int v = 0; v < V; ++v) column[v] = Vec16::load(right + i * right_stride + size_t(v) * 16);
    for (int r = 0; r < R; ++r) {
      const Vec16 x = Vec16::broadcast(left[size_t(r) * left_stride + i]);
      for (int v = 0; v < V; ++v) sum[r][v] = fma(x, column[v], sum[r][v]);
    }
  }
}

template <typename Vec16, int V>
struct BlockFold {
  template <int R>
  static void score_rows(const float* q, size_t dim, const float* keys, float* scores) {
    for (size_t slot = 0; slot < kPageSlots; slot += 16 * V) {
      Vec16 sum[R][V];
      for (auto& row : sum) {
        for (Vec16& x : row) x = Vec16::broadcast(0.0F);
      }
      multiply_tile<Vec16, R, V>(q, dim, keys + slot, kPageSlots, dim, sum);
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) sum[r][v].store(scores + size_t(r) * kPageSlots + slot + size_t(v) * 16);
      }
    }
  }

  template <int R, int W>
  static void accumulate_columns(const float* p, const float* scale, size_t dim, const float* values, float* o) {
    Vec16 sum[R][W];
    for (int r = 0; r < R; ++r) {
      const Vec16 factor = Vec16::broadcast(scale[r]);
      for (int v = 0; v < W; ++v) sum[r][v] = Vec16::load(o + size_t(r) * dim + size_t(v) * 16) * factor;
    }
    multiply_tile<Vec16, R, W>(p, kPageSlots, values, dim, kPageSlots, sum);
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < W; ++v) sum[r][v].store(o + size_t(r) * dim + size_t(v) * 16);
    }
  }

  template <int R>
  static void accumulate_rows(const float* p, const float* scale, size_t dim, const float* values, float* o) {
    size_t column = 0;
    for (; column + 16 * V <= dim; column += 16 * V)
      accumulate_columns<R, V>(p, scale, dim, values + column, o + column);
    for (; column < dim; column += 16) accumulate_columns<R, 1>(p, scale, dim, values + column, o + column);
  }

  // Scores of one row become weights exp(score - m); the state's m and l move on. Returns the factor for the old o.
  static float soften_row(float* scores, VisibleSlots visible, float& m, float& l) {
    constexpr int kVectors = kPageSlots / 16;
    Vec16 x[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      x[v] = Vec16::load(scores + v * 16);
      if (visible.first > v * 16 || visible.last < v * 16 + 16) {
        x[v] = keep_lanes(x[v], visible.first - v * 16, visible.last - v * 16, kMinusInfinity);
      }
    }
    const float block_max = largest(max(max(x[0], x[1]), max(x[2], x[3])));
    if (block_max == kMinusInfinity) {
      for (int v = 0; v < kVectors; ++v) Vec16::broadcast(0.0F).store(scores + v * 16);
      return 1.0F;
    }
    const float new_max = block_max > m ? block_max : m;
    const float factor = exp_scalar(m - new_max);
    const Vec16 offset = Vec16::broadcast(new_max);
    for (int v = 0; v < kVectors; ++v) {
      x[v] = exp(x[v] - offset);
      x[v].store(scores + v * 16);
    }
    l = l * factor + sum((x[0] + x[1]) + (x[2] + x[3]));
    m = new_max;
    return factor;
  }

  template <int R>
  static void fold_rows(const float* q, size_t dim, const float* keys, const float* values, const VisibleSlots* visible,
                        float* scores, SoftmaxState state) {
    float factor[R];
    score_rows<R>(q, dim, keys, scores);
    for (int r = 0; r < R; ++r) factor[r] = soften_row(scores + r * kPageSlots, visible[r], state.m[r], state.l[r]);
    accumulate_rows<R>(scores, factor, dim, values, state.o);
  }
};

template <typename Vec16, int kRows, int kVectors>
void fold_block(const float* q, size_t rows, size_t dim, const float* keys, const float* values,
                const VisibleSlots* visible, float* scores, SoftmaxState state) {
  using Fold = BlockFold<Vec16, kVectors>;
  size_t row = 0;
  const auto fold = [&]<int R>() {
    Fold::template fold_rows<R>(q + row * dim, dim, keys, values, visible + row, scores + row * kPageSlots,
                                {state.m + row, state.l + row, state.o + row * dim});
    row += R;
  };
  while (row + kRows <= rows) fold.template operator()<kRows>();
  while (row + 3 <= rows) fold.template operator()<3>();
  while (row < rows) fold.template operator()<1>();
}

template <typename Vec16>
void merge_states(SoftmaxState into, SoftmaxState from, size_t rows, size_t dim) {
  for (size_t r = 0; r < rows; ++r) {
    if (from.m[r] == kMinusInfinity) continue;
    const float m = into.m[r] > from.m[r] ? into.m[r] : from.m[r];
    const float a = exp_scalar(into.m[r] - m);
    const float b = exp_scalar(from.m[r] - m);
    into.l[r] = into.l[r] * a + from.l[r] * b;
    into.m[r] = m;
    const Vec16 a16 = Vec16::broadcast(a);
    const Vec16 b16 = Vec16::broadcast(b);
    for (size_t i = 0; i < dim; i += 16) {
      float* out = into.o + r * dim + i;
      fma(Vec16::load(out), a16, Vec16::load(from.o + r * dim + i) * b16).store(out);
    }
  }
}

template <typename Vec16, int kRows, int kVectors>
inline constexpr AttentionKernels kAttentionKernels = {fold_block<Vec16, kRows, kVectors>, merge_states<Vec16>};

}  // namespace loci
