// Attention of a prompt's tiles over kv8 and kv4: scores from the codes themselves (AVX512_VNNI), exact but for the
// query's rounding (code_query_avx512.h), and outputs from bfloat16 weights and values (AVX512_BF16). Both do two
// products a lane at the rate of one fused multiply-add on the machines that this is for; scores are what rounding
// would hurt most.
#include <immintrin.h>

#include "kernels/cpu/attention/code_query_avx512.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/tile_bf16_avx512.h"

namespace loci {
namespace {

using namespace simd_avx512;

// The numbers in `words`, each  scale[i] * code + minimum[i], stored as pairs, a row apart.
template <bool kBytes>
static inline void store_pairs(__m512i words, const __m512* scale, const __m512* minimum, std::byte* to,
                               size_t row_bytes) {
  const auto pair = [&](int i, __m512 even, __m512 odd) {
    even = _mm512_fmadd_ps(even, scale[2 * i], minimum[2 * i]);
    odd = _mm512_fmadd_ps(odd, scale[2 * i + 1], minimum[2 * i + 1]);
    _mm512_storeu_si512(to + static_cast<size_t>(i) * row_bytes, pair_up(even, odd));
  };
  if constexpr (kBytes) {
    pair(0, field<0, 255>(words), field<8, 255>(words));
    pair(1, field<16, 255>(words), field<24, 255>(words));
  } else {
    pair(0, field<0, 15>(words), field<8, 15>(words));
    pair(1, field<16, 15>(words), field<24, 15>(words));
    pair(2, field<4, 15>(words), field<12, 15>(words));
    pair(3, field<20, 15>(words), field<28, 15>(words));
  }
}

template <bool kBytes>
void load_values(const PageLayout& layout, const std::byte* page, std::byte* block) {
  constexpr uint32_t kPerWord = kBytes ? 4 : 8;
  const size_t dim = layout.padded_dim;
  __m512 scale[kPerWord], minimum[kPerWord];
  block += values_offset(dim);
  for (size_t slot = 0; slot < kPageSlots; slot += kPerWord) {
    for (size_t d = 0; d < dim; d += 16) {
      if (d % kCodeGroup == 0) {
        const size_t column = (d / kCodeGroup * kPageSlots + slot) * 2;
        for (size_t i = 0; i < kPerWord; ++i) {
          scale[i] = broadcast_half(page + layout.value_scales + column + 2 * i);
          minimum[i] = broadcast_half(page + layout.value_minimums + column + 2 * i);
        }
      }
      const __m512i words = _mm512_loadu_si512(page + value_word(layout, kPerWord, slot, d));
      store_pairs<kBytes>(words, scale, minimum, block + (slot / 2 * dim + d) * 4, dim * 4);
    }
  }
}

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
                                            load_values<true>, fold_tiles<Score<8>>};
const ReadKernel kAttentionKv4Bf16Avx512 = {"8-bit integer scores, bf16 outputs", load_code_query<4>,
                                            load_values<false>, fold_tiles<Score<4>>};

}  // namespace loci
