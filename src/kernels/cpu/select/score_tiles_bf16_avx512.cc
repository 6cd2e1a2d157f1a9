// A register tile is 6 queries x 64 keys, as in the read of a prompt (attention/fold_bf16_avx512.cc): 24 dot products
// for 4 loads and 6 broadcasts, so the multiplier is the bound.
#include <immintrin.h>

#include "kernels/cpu/attention/tile_bf16_avx512.h"
#include "kernels/cpu/select/score_tiles.h"
#include "kernels/cpu/select/score_tiles_avx512.h"

namespace loci {
namespace {

using namespace simd_avx512;

template <int R>
void score_queries(const std::byte* queries, size_t dim, const std::byte* keys, float* scores, size_t stride) {
  __m512 sum[R][kColumns];
  for (auto& row : sum) {
    for (__m512& x : row) x = _mm512_setzero_ps();
  }
  multiply_pairs<R, kColumns>(queries, dim * 2, keys, kPageSlots * 4, dim / 2, sum);
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < kColumns; ++v) _mm512_storeu_ps(scores + size_t(r) * stride + size_t(v) * 16, sum[r][v]);
  }
}

void score_in_registers(const std::byte* queries, size_t rows, size_t dim, const std::byte* keys, float* scores,
                        size_t stride) {
  size_t row = 0;
  const auto run = [&]<int R>() {
    for (; row + R <= rows; row += R)
      score_queries<R>(queries + row * dim * 2, dim, keys, scores + row * stride, stride);
  };
  run.template operator()<6>();
  run.template operator()<3>();
  run.template operator()<1>();
}

}  // namespace

const ScoreTiles detail::kScoreTilesBf16Avx512 = {load_score_queries, load_score_page, load_score_keys,
                                                  score_in_registers};

}  // namespace loci
