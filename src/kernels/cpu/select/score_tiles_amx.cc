// Queries lie as [rows][dim], keys as pairs of dimensions [dim / 2][64] (attention/block_bf16_avx512.h).
#include <immintrin.h>

#include "kernels/cpu/attention/block_bf16_avx512.h"
#include "kernels/cpu/attention/score_rows_amx.h"
#include "kernels/cpu/select/score_tiles.h"
#include "kernels/cpu/simd/tiles_amx.h"

namespace loci {
namespace {

using namespace simd_avx512;
using simd_amx::TileRegisters;

constexpr size_t kRowsAtOnce = 16;

void load_queries(const float* q, size_t rows, size_t dim, std::byte* queries) {
  for (size_t row = 0; row < rows; ++row) load_bf16_query(q + row * dim, row, rows, dim, queries);
}

void load_page(const PageLayout& layout, const std::byte* page, std::byte* keys) {
  switch (layout.codec) {
    case KvCodec::kKv16:
      return load_bf16_halves(layout, page, keys);
    case KvCodec::kKv8:
      return load_bf16_keys<true>(layout, page, keys);
    case KvCodec::kKv4:
      return load_bf16_keys<false>(layout, page, keys);
  }
}

void load_keys(const float* from, size_t dim, std::byte* keys) {
  for (size_t d = 0; d < dim; d += 2, from += 2 * kPageSlots) {
    for (size_t slot = 0; slot < kPageSlots; slot += 16, keys += 64) {
      _mm512_storeu_si512(keys, pair_up(_mm512_loadu_ps(from + slot), _mm512_loadu_ps(from + kPageSlots + slot)));
    }
  }
}

void score(const std::byte* queries, size_t rows, size_t dim, const std::byte* keys, float* scores, size_t stride) {
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

const ScoreTiles detail::kScoreTilesAmx = {load_queries, load_page, load_keys, score};

}  // namespace loci
