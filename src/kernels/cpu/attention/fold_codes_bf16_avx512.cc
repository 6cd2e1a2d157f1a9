// Attention of a prompt's tiles over kv8 and kv4: scores from the codes themselves (AVX512_VNNI), exact but for the
// query's rounding (code_query_avx512.h), and outputs from bfloat16 weights and values (AVX512_BF16). Both do two
// products a lane at the rate of one fused multiply-add on the machines that this is for; scores are what rounding
// would hurt most.
#include <immintrin.h>

#include "kernels/cpu/attention/block_bf16_avx512.h"
#include "kernels/cpu/attention/code_query_avx512.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/tile_bf16_avx512.h"

namespace loci {
namespace {

using namespace simd_avx512;

template <int kBits>
struct Score {
  static constexpr uint32_t kPerWord = kBits == 8 ? 4 : 8;

  template <int R>
  static void rows(const BlockRead& b, size_t row, __m512 (&score)[R][kColumns]) {
    Query query[R];  // of one group: 4 bytes apart
    const Query first = Query::at(b.queries, row, b.dim);
    for (int r = 0; r < R; ++r) {
      query[r] = {first.base + r * 4, b.dim};
      for (__m512& x : score[r]) x = _mm512_setzero_ps();
    }
    for (size_t group = 0; group < b.dim / kCodeGroup; ++group) {
      __m512i sum[R][kColumns];
      multiply_group<R>(b, query, group, sum);
      for (int v = 0; v < kColumns; ++v) {
        const size_t column = (group * kPageSlots + static_cast<size_t>(v) * 16) * 2;
        const __m512 scale = load_halves(b.page + b.layout->key_scales + column);
        const __m512 minimum = load_halves(b.page + b.layout->key_minimums + column);
        for (int r = 0; r < R; ++r) {
          score[r][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][v]), scale, score[r][v]);
          score[r][v] = _mm512_fmadd_ps(_mm512_set1_ps(query[r].sum(group)), minimum, score[r][v]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (__m512& x : score[r]) x = _mm512_mul_ps(x, _mm512_set1_ps(query[r].step()));
    }
  }

  // code . terms over 32 dimensions: the high terms first, so that one accumulator does.
  template <int R>
  [[gnu::always_inline]] static inline void multiply_group(const BlockRead& b, const Query (&query)[R], size_t group,
                                                           __m512i (&sum)[R][kColumns]) {
    for (auto& sums : sum) {
      for (__m512i& x : sums) x = _mm512_setzero_si512();
    }
    const size_t first = group * kCodeGroup;
    for (size_t d = first; d < first + kCodeGroup; d += kPerWord)
      multiply_word<R>(
          b, query, d, [](const Query& q) { return q.high(); }, sum);
    if constexpr (kBits == 4) return;  // one term
    for (auto& sums : sum) {
      for (__m512i& x : sums) x = _mm512_slli_epi32(x, 8);
    }
    for (size_t d = first; d < first + kCodeGroup; d += kPerWord)
      multiply_word<R>(
          b, query, d, [](const Query& q) { return q.low(); }, sum);
  }

  template <int R, typename Term>
  [[gnu::always_inline]] static inline void multiply_word(const BlockRead& b, const Query (&query)[R], size_t d,
                                                          Term term, __m512i (&sum)[R][kColumns]) {
    __m512i words[kColumns];
    for (int v = 0; v < kColumns; ++v)
      words[v] = _mm512_loadu_si512(b.page + key_word(*b.layout, kPerWord, static_cast<size_t>(v) * 16, d));
    for (int r = 0; r < R; ++r) {
      const __m512i x = broadcast_i32(term(query[r]) + d / 4 * Query::kStride);
      for (int v = 0; v < kColumns; ++v) sum[r][v] = add_products(sum[r][v], low_codes<kBits>(words[v]), x);
    }
    if constexpr (kBits == 4) {
      for (int r = 0; r < R; ++r) {
        const __m512i x = broadcast_i32(term(query[r]) + (d / 4 + 1) * Query::kStride);
        for (int v = 0; v < kColumns; ++v) sum[r][v] = add_products(sum[r][v], high_codes(words[v]), x);
      }
    }
  }
};

}  // namespace

const ReadKernel kAttentionKv8Bf16Avx512 = {"16-bit integer scores, bf16 outputs", load_code_query<8>,
                                            load_bf16_values<true>, fold_tiles<Score<8>>};
const ReadKernel kAttentionKv4Bf16Avx512 = {"8-bit integer scores, bf16 outputs", load_code_query<4>,
                                            load_bf16_values<false>, fold_tiles<Score<4>>};

}  // namespace loci
