// Scores of many queries, for methods that judge a prompt by them: products of bfloat16 with fp32 sums, as a prompt is
// read (attention/fold_amx.cc, attention/fold_bf16_avx512.cc). A query's scores do not depend on the queries beside it.
#pragma once

#include <cstddef>

#include "base/cpu.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

struct ScoreTiles {
  // q [rows, dim]; writes tile_bytes(rows, dim).
  void (*load_queries)(const float* q, size_t rows, size_t dim, std::byte* queries);
  // The keys of a page, or keys [dim][64]; writes tile_bytes(64, dim).
  void (*load_page)(const PageLayout& layout, const std::byte* page, std::byte* keys);
  void (*load_keys)(const float* from, size_t dim, std::byte* keys);
  // scores[r * stride + i] = query r . key i for 64 keys; dim is a multiple of 32.
  void (*score)(const std::byte* queries, size_t rows, size_t dim, const std::byte* keys, float* scores, size_t stride);
};

constexpr size_t tile_bytes(size_t count, size_t dim) { return count * dim * 2; }

// Null where products of bfloat16 are no faster than those of fp32.
const ScoreTiles* score_tiles(Isa isa);

namespace detail {
extern const ScoreTiles kScoreTilesAmx;
extern const ScoreTiles kScoreTilesBf16Avx512;
}  // namespace detail

}  // namespace loci
