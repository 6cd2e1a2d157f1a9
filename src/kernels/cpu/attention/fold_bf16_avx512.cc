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

#include "kernels/cpu/attention/block_bf16_avx512.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/tile_bf16_avx512.h"

namespace loci {
namespace {

using namespace simd_avx512;

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

const ReadKernel kAttentionBf16Avx512 = {"bf16 products", load_bf16_query, load_bf16_block, fold_tiles<Score>};

}  // namespace loci
