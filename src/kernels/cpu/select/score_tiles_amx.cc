#include <immintrin.h>

#include "kernels/cpu/attention/score_rows_amx.h"
#include "kernels/cpu/select/score_tiles.h"
#include "kernels/cpu/select/score_tiles_avx512.h"
#include "kernels/cpu/simd/tiles_amx.h"

namespace loci {
namespace {

using simd_amx::TileRegisters;

constexpr size_t kRowsAtOnce = 16;

void score_in_unit(const std::byte* queries, size_t rows, size_t dim, const std::byte* keys, float* scores,
                   size_t stride) {
  simd_amx::finish_stores();
  const auto run = [&](size_t first, size_t last, size_t count) {
    if (first == last) return;
    const TileRegisters registers({.rows = count});
    for (size_t row = first; row < last; row += count)
      simd_amx::score_rows(queries + row * dim * 2, dim, keys, scores + row * stride, stride);
  };
  const size_t whole = rows / kRowsAtOnce * kRowsAtOnce;
  run(0, whole, kRowsAtOnce);
  run(whole, rows, rows - whole);
}

}  // namespace

const ScoreTiles detail::kScoreTilesAmx = {simd_avx512::load_score_queries, simd_avx512::load_score_page,
                                           simd_avx512::load_score_keys, score_in_unit};

}  // namespace loci
