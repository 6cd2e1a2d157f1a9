// Scores of up to sixteen rows and a block's 64 keys in the matrix unit: what reading a prompt and judging one share.
// Include only from *_amx.cc, where TileRegisters are held for the rows.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci::simd_amx {

// scores[r * stride + i] = query r . key i. queries [rows][dim] and keys, pairs of dimensions [dim / 2][64], in
// bfloat16.
static inline void score_rows(const std::byte* queries, size_t dim, const std::byte* keys, float* scores,
                              size_t stride) {
  constexpr size_t kPairBytes = kPageSlots * 4;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (size_t d = 0; d < dim; d += 32, queries += 64, keys += 16 * kPairBytes) {
    _tile_loadd(4, queries, dim * 2);
    _tile_loadd(6, keys, kPairBytes);
    _tile_loadd(7, keys + 64, kPairBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(6, keys + 128, kPairBytes);
    _tile_loadd(7, keys + 192, kPairBytes);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 7);
  }
  _tile_stored(0, scores, stride * 4);
  _tile_stored(1, scores + 16, stride * 4);
  _tile_stored(2, scores + 32, stride * 4);
  _tile_stored(3, scores + 48, stride * 4);
}

}  // namespace loci::simd_amx
