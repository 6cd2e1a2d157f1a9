// Tiles of bfloat16 products with fp32 sums (AVX512_BF16): what the kernels of kv16 and of codes share. Only
// *_bf16_avx512.cc files include it.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/attention/block_bf16_avx512.h"
#include "kernels/cpu/attention/soften_avx512.h"

namespace loci::simd_avx512 {

inline constexpr int kColumns = 4;  // vectors of 16 in the register tile

static inline __m512bh broadcast_pair(const std::byte* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

// sum[r][v] += over `pairs` pairs: left[r] (pairs in a row) * right (rows of `right_bytes`).
template <int R, int V>
[[gnu::always_inline]] inline void multiply_pairs(const std::byte* left, size_t left_bytes, const std::byte* right,
                                                  size_t right_bytes, size_t pairs, __m512 (&sum)[R][V]) {
  for (size_t i = 0; i < pairs; ++i) {
    __m512bh column[V];
    for (int v = 0; v < V; ++v) column[v] = (__m512bh)_mm512_loadu_si512(right + i * right_bytes + size_t(v) * 64);
    for (int r = 0; r < R; ++r) {
      const __m512bh x = broadcast_pair(left + size_t(r) * left_bytes + i * 4);
      for (int v = 0; v < V; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], column[v], x);
    }
  }
}

// `Score::rows(b, row, score)` writes the scores of R rows and 64 slots.
template <int R, typename Score>
struct TileFold {
  const BlockRead& b;
  size_t row;
  std::byte* weights;  // [R][64] bfloat16
  float factor[R];     // of the old o

  void run() {
    if (nothing_visible()) return;
    __m512 score[R][kColumns];
    Score::template rows<R>(b, row, score);
    if (b.visible != nullptr) hide(score);
    soften(score);
    size_t column = 0;
    for (; column + 64 <= b.dim; column += 64) accumulate<4>(column);
    for (; column < b.dim; column += 32) accumulate<2>(column);
  }

  bool sees_any(int r) const {
    return b.visible == nullptr || b.visible[row + size_t(r)].first < b.visible[row + size_t(r)].last;
  }
  bool nothing_visible() const {
    for (int r = 0; r < R; ++r) {
      if (sees_any(r)) return false;
    }
    return true;
  }

  void hide(__m512 (&score)[R][kColumns]) const {
    for (int r = 0; r < R; ++r) {
      const VisibleSlots visible = b.visible[row + size_t(r)];
      for (int v = 0; v < kColumns; ++v) {
        score[r][v] = _mm512_mask_blend_ps(visible_lanes(visible, v * 16), _mm512_set1_ps(kMinusInfinity), score[r][v]);
      }
    }
  }

  // Scores become weights exp(score - m) in bfloat16; the states' m and l move on.
  void soften(__m512 (&score)[R][kColumns]) {
    const __m512 log2e = _mm512_set1_ps(exp_constants::kLog2E);
    float* m = b.state.m + row;
    float* l = b.state.l + row;
    float step[16] = {};
    float top[R];
    for (int r = 0; r < R; ++r) {
      const float block_max = _mm512_reduce_max_ps(
          _mm512_max_ps(_mm512_max_ps(score[r][0], score[r][1]), _mm512_max_ps(score[r][2], score[r][3])));
      top[r] = block_max > m[r] ? block_max : m[r];
      // A row that has seen nothing yet keeps m = -inf; -inf - -inf would be NaN.
      step[r] = top[r] == kMinusInfinity ? 0.0F : m[r] - top[r];
    }
    alignas(64) float factors[16];
    _mm512_store_ps(factors, exp2_not_above_one(_mm512_mul_ps(_mm512_loadu_ps(step), log2e)));
    for (int r = 0; r < R; ++r) {
      // Exactly 1 where the maximum stands, so that a block that a row does not see leaves its state as it was.
      factor[r] = step[r] == 0.0F ? 1.0F : factors[r];
      const float base = top[r] == kMinusInfinity ? 0.0F : top[r];
      const __m512 offset = _mm512_set1_ps(-base * exp_constants::kLog2E);
      __m512 p[kColumns];
      for (int v = 0; v < kColumns; ++v) p[v] = exp2_not_above_one(_mm512_fmadd_ps(score[r][v], log2e, offset));
      for (int v = 0; v < kColumns; v += 2) {
        _mm512_storeu_si512(weights + size_t(r) * kPageSlots * 2 + size_t(v) * 32,
                            (__m512i)_mm512_cvtne2ps_pbh(p[v + 1], p[v]));
      }
      l[r] =
          l[r] * factor[r] + _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(p[0], p[1]), _mm512_add_ps(p[2], p[3])));
      m[r] = top[r];
    }
  }

  template <int V>
  void accumulate(size_t column) const {
    float* o = b.state.o + row * b.dim + column;
    __m512 sum[R][V];
    for (int r = 0; r < R; ++r) {
      const __m512 old = _mm512_set1_ps(factor[r]);
      for (int v = 0; v < V; ++v)
        sum[r][v] = _mm512_mul_ps(_mm512_loadu_ps(o + size_t(r) * b.dim + size_t(v) * 16), old);
    }
    const std::byte* values = b.block + values_offset(b.dim) + column * 4;
    multiply_pairs<R, V>(weights, kPageSlots * 2, values, b.dim * 4, kPageSlots / 2, sum);
    for (int r = 0; r < R; ++r) {
      // Adding nothing would still flush a denormal and turn -0 into 0, and whether a neighbour sees the block must not
      // show.
      if (!sees_any(r)) continue;
      for (int v = 0; v < V; ++v) _mm512_storeu_ps(o + size_t(r) * b.dim + size_t(v) * 16, sum[r][v]);
    }
  }
};

template <typename Score>
void fold_tiles(const BlockRead& b) {
  auto* weights = reinterpret_cast<std::byte*>(b.scores);
  size_t row = 0;
  for (; row + 6 <= b.rows; row += 6) TileFold<6, Score>{b, row, weights, {}}.run();
  for (; row + 3 <= b.rows; row += 3) TileFold<3, Score>{b, row, weights, {}}.run();
  for (; row < b.rows; ++row) TileFold<1, Score>{b, row, weights, {}}.run();
}

}  // namespace loci::simd_avx512
