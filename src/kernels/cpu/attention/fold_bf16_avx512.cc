// Attention of a prompt's tiles over kv16, with bfloat16 products and fp32 sums (AVX512_BF16), where vdpbf16ps does two
// products a lane at the rate of one fused multiply-add (AMD Zen 4 and later).
//
// Queries, keys, weights and values are rounded to bfloat16 (relative error 2^-9); scores, maxima, exponentials and all
// sums stay in fp32. A score is one chain over pairs of dimensions in ascending order, an output one chain over pairs
// of slots. The page is decoded once for all rows of a tile:
//
//   keys    [dim / 2][64 slots] pairs of dimensions      values  [32 slot pairs][dim] pairs of slots
//
// The register tile is 6 rows x 64 columns: 24 dot products for 4 loads and 6 broadcasts, so the multiplier is the
// bound; what is left is softmax (about a tenth) and the decoding of the page.
#include <immintrin.h>

#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/tile_bf16_avx512.h"

namespace loci {
namespace {

using namespace simd_avx512;

void load_block(const PageLayout& layout, const std::byte* page, std::byte* block) {
  const size_t dim = layout.padded_dim;
  for (size_t d = 0; d < dim; d += 2) {
    for (size_t slot = 0; slot < kPageSlots; slot += 16, block += 64) {
      const std::byte* from = page + (d * kPageSlots + slot) * 2;
      _mm512_storeu_si512(block, pair_up(load_halves(from), load_halves(from + kPageSlots * 2)));
    }
  }
  for (size_t slot = 0; slot < kPageSlots; slot += 2) {
    for (size_t d = 0; d < dim; d += 16, block += 64) {
      const std::byte* from = page + value_half(layout, slot, d);
      _mm512_storeu_si512(block, pair_up(load_halves(from), load_halves(from + kCodeGroup * 2)));
    }
  }
}

void load_query(const float* q, size_t row, size_t, size_t dim, std::byte* queries) {
  for (size_t d = 0; d < dim; d += 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(queries + (row * dim + d) * 2),
                        (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(q + d)));
  }
}

struct Score {
  template <int R>
  static void rows(const BlockRead& b, size_t row, __m512 (&score)[R][kColumns]) {
    for (auto& scores : score) {
      for (__m512& x : scores) x = _mm512_setzero_ps();
    }
    multiply_pairs<R, kColumns>(b.queries + row * b.dim * 2, b.dim * 2, b.block, kPageSlots * 4, b.dim / 2, score);
  }
};

}  // namespace

const ReadKernel kAttentionBf16Avx512 = {"bf16 products", load_query, load_block, fold_tiles<Score>};

}  // namespace loci
