// What kernels of bfloat16 scores multiply: queries lie as [rows][dim], keys as pairs of dimensions [dim / 2][64]
// (attention/block_bf16_avx512.h). Include only from score_tiles_*.cc.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/attention/block_bf16_avx512.h"

namespace loci::simd_avx512 {

static inline void load_score_queries(const float* q, size_t rows, size_t dim, std::byte* queries) {
  for (size_t row = 0; row < rows; ++row) load_bf16_query(q + row * dim, row, rows, dim, queries);
}

static inline void load_score_page(const PageLayout& layout, const std::byte* page, std::byte* keys) {
  switch (layout.codec) {
    case KvCodec::kKv16:
      return load_bf16_halves(layout, page, keys);
    case KvCodec::kKv8:
      return load_bf16_keys<true>(layout, page, keys);
    case KvCodec::kKv4:
      return load_bf16_keys<false>(layout, page, keys);
  }
}

static inline void load_score_keys(const float* from, size_t dim, std::byte* keys) {
  for (size_t d = 0; d < dim; d += 2, from += 2 * kPageSlots) {
    for (size_t slot = 0; slot < kPageSlots; slot += 16, keys += 64) {
      _mm512_storeu_si512(keys, pair_up(_mm512_loadu_ps(from + slot), _mm512_loadu_ps(from + kPageSlots + slot)));
    }
  }
}

}  // namespace loci::simd_avx512
