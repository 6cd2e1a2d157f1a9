// Attention of a prompt's tiles in the matrix unit (AMX_BF16): bfloat16 products with fp32 sums, 16 rows x 16 columns x
// 32 products an instruction.
//
// Queries, keys, weights and values are rounded to bfloat16 (relative error 2^-9); scores, maxima, exponentials and all
// sums stay in fp32. Pages of every codec are decoded once for all rows of a tile into the pairs that the unit
// multiplies (block_bf16_avx512.h).
//
// Half of the time is softmax on the vector units, for which sixteen rows share their horizontal reductions; half is
// the unit's products with its loads and stores. The two overlap little: a core looks ahead over one tile's
// instructions.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "kernels/cpu/attention/block_bf16_avx512.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/score_rows_amx.h"
#include "kernels/cpu/attention/soften_avx512.h"
#include "kernels/cpu/simd/tiles_amx.h"

namespace loci {
namespace {

using namespace simd_avx512;
using simd_amx::TileRegisters;

constexpr size_t kTileRows = 16;
constexpr size_t kUnderWay = 3;                 // tiles
constexpr int kColumns = kPageSlots / 16;       // of scores
constexpr size_t kScoreBytes = kPageSlots * 4;  // of a row: scores, then its weights in bfloat16

// One number per row out of a vector per row, combined pairwise: lane r of the result belongs to row r.
template <typename Combine>
[[gnu::always_inline]] inline __m512 reduce_rows(__m512 (&x)[kTileRows], Combine combine) {
  const __m512i low_halves = _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
  const __m512i high_halves = _mm512_set_epi32(31, 30, 29, 28, 15, 14, 13, 12, 27, 26, 25, 24, 11, 10, 9, 8);
  // Within 128-bit lanes: rows 4 j .. 4 j + 3 become the four numbers of each lane of y[j].
  __m512 y[4];
  for (int j = 0; j < 4; ++j) {
    const __m512 a = x[4 * j], b = x[4 * j + 1], c = x[4 * j + 2], d = x[4 * j + 3];
    const __m512 ab = combine(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = combine(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    y[j] = combine(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  }
  // Across lanes: the four of y[0], then the four of y[1], and so on.
  const __m512 z0 =
      combine(_mm512_permutex2var_ps(y[0], low_halves, y[1]), _mm512_permutex2var_ps(y[0], high_halves, y[1]));
  const __m512 z1 =
      combine(_mm512_permutex2var_ps(y[2], low_halves, y[3]), _mm512_permutex2var_ps(y[2], high_halves, y[3]));
  // z0: lanes (y0, y1, y0, y1); z1: (y2, y3, y2, y3).
  return combine(_mm512_shuffle_f32x4(z0, z1, 0x44), _mm512_shuffle_f32x4(z0, z1, 0xee));
}

// Up to sixteen rows before one block.
struct TileFold {
  const BlockRead& b;
  size_t row;
  size_t rows;
  size_t place;  // among those under way

  const std::byte* keys() const { return b.block; }
  const std::byte* values() const { return b.block + values_offset(b.dim); }
  // Where a tile's predecessors had theirs, so that they stay in the first cache.
  float* scores() const { return b.scores + place * kTileRows * kPageSlots; }
  std::byte* weights() const { return reinterpret_cast<std::byte*>(scores()); }

  bool sees_any(size_t r) const { return b.visible == nullptr || b.visible[row + r].first < b.visible[row + r].last; }
  bool nothing_visible() const {
    for (size_t r = 0; r < rows; ++r) {
      if (sees_any(r)) return false;
    }
    return true;
  }
  bool all_see() const {
    for (size_t r = 0; r < rows; ++r) {
      if (!sees_any(r)) return false;
    }
    return true;
  }

  // Leaves scores [rows][64].
  void score() const {
    simd_amx::finish_stores();
    simd_amx::score_rows(b.queries + row * b.dim * 2, b.dim, keys(), scores(), kPageSlots);
  }

  void hide() const {
    for (size_t r = 0; r < rows; ++r) {
      const VisibleSlots visible = b.visible[row + r];
      float* of = scores() + r * kPageSlots;
      for (int v = 0; v < kColumns; ++v, of += 16) {
        const __mmask16 seen = visible_lanes(visible, v * 16);
        _mm512_mask_storeu_ps(of, static_cast<__mmask16>(~seen), _mm512_set1_ps(kMinusInfinity));
      }
    }
  }

  // Scores become weights exp(score - m) in bfloat16; the states' m and l move on, and o is scaled with them.
  void soften() const {
    if (b.visible != nullptr) hide();
    const auto lanes = static_cast<__mmask16>((1u << rows) - 1u);
    const __m512 log2e = _mm512_set1_ps(exp_constants::kLog2E);
    __m512 of_row[kTileRows];
    const float* score = scores();
    for (size_t r = 0; r < kTileRows; ++r) {
      of_row[r] = _mm512_set1_ps(kMinusInfinity);
      if (r >= rows) continue;
      const float* x = score + r * kPageSlots;
      of_row[r] = _mm512_max_ps(_mm512_max_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)),
                                _mm512_max_ps(_mm512_loadu_ps(x + 32), _mm512_loadu_ps(x + 48)));
    }
    const __m512 block_max = reduce_rows(of_row, [](__m512 x, __m512 y) { return _mm512_max_ps(x, y); });
    const __m512 old_max = _mm512_maskz_loadu_ps(lanes, b.state.m + row);
    const __m512 top = _mm512_max_ps(block_max, old_max);
    // A row that has seen nothing yet keeps m = -inf; -inf - -inf would be NaN.
    const __mmask16 none = _mm512_cmp_ps_mask(top, _mm512_set1_ps(kMinusInfinity), _CMP_EQ_OQ);
    const __mmask16 stands = static_cast<__mmask16>(none | _mm512_cmp_ps_mask(top, old_max, _CMP_EQ_OQ));
    // Exactly 1 where the maximum stands, so that a block that a row does not see leaves its state as it was.
    const __m512 factor = _mm512_mask_blend_ps(
        stands, exp2_not_above_one(_mm512_mul_ps(_mm512_sub_ps(old_max, top), log2e)), _mm512_set1_ps(1.0F));
    alignas(64) float offsets[kTileRows];
    _mm512_store_ps(offsets, _mm512_mask_blend_ps(none, _mm512_mul_ps(top, _mm512_set1_ps(-exp_constants::kLog2E)),
                                                  _mm512_setzero_ps()));
    for (size_t r = 0; r < kTileRows; ++r) {
      of_row[r] = _mm512_setzero_ps();
      if (r >= rows) continue;
      const float* x = score + r * kPageSlots;
      const __m512 offset = _mm512_set1_ps(offsets[r]);
      __m512 p[kColumns];
      for (int v = 0; v < kColumns; ++v) {
        p[v] = exp2_not_above_one(_mm512_fmadd_ps(_mm512_loadu_ps(x + v * 16), log2e, offset));
      }
      std::byte* to = weights() + r * kScoreBytes;
      _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(p[1], p[0]));
      _mm512_storeu_si512(to + 64, (__m512i)_mm512_cvtne2ps_pbh(p[3], p[2]));
      of_row[r] = _mm512_add_ps(_mm512_add_ps(p[0], p[1]), _mm512_add_ps(p[2], p[3]));
    }
    const __m512 sums = reduce_rows(of_row, [](__m512 x, __m512 y) { return _mm512_add_ps(x, y); });
    const __m512 old_sum = _mm512_maskz_loadu_ps(lanes, b.state.l + row);
    _mm512_mask_storeu_ps(b.state.l + row, lanes, _mm512_fmadd_ps(old_sum, factor, sums));
    _mm512_mask_storeu_ps(b.state.m + row, lanes, top);
    scale_outputs(factor, static_cast<__mmask16>(lanes & ~stands));
  }

  void scale_outputs(__m512 factor, __mmask16 moved) const {
    if (moved == 0) return;
    alignas(64) float factors[kTileRows];
    _mm512_store_ps(factors, factor);
    for (size_t r = 0; r < rows; ++r) {
      if ((moved >> r & 1u) == 0) continue;
      float* o = b.state.o + (row + r) * b.dim;
      const __m512 x = _mm512_set1_ps(factors[r]);
      for (size_t d = 0; d < b.dim; d += 16) _mm512_storeu_ps(o + d, _mm512_mul_ps(_mm512_loadu_ps(o + d), x));
    }
  }

  // o += weights . values, 32 dimensions at a time.
  void accumulate() const {
    simd_amx::finish_stores();
    const bool all = b.visible == nullptr || all_see();
    const size_t stride = b.dim * 4;
    _tile_loadd(4, weights(), kScoreBytes);
    _tile_loadd(5, weights() + 64, kScoreBytes);
    for (size_t d = 0; d < b.dim; d += 32) {
      float* o = b.state.o + row * b.dim + d;
      const std::byte* value = values() + d * 4;
      _tile_loadd(0, o, stride);
      _tile_loadd(1, o + 16, stride);
      _tile_loadd(6, value, stride);
      _tile_loadd(7, value + 64, stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(6, value + 16 * stride, stride);
      _tile_loadd(7, value + 16 * stride + 64, stride);
      _tile_dpbf16ps(0, 5, 6);
      _tile_dpbf16ps(1, 5, 7);
      if (all) {
        _tile_stored(0, o, stride);
        _tile_stored(1, o + 16, stride);
      } else {
        store_seeing(o);
      }
    }
  }

  // Tiles 0 and 1 to the rows that see something: adding nothing would still turn a denormal or -0 into 0, and whether
  // a neighbour sees the block must not show.
  void store_seeing(float* o) const {
    alignas(64) float sums[kTileRows][32];
    _tile_stored(0, sums, sizeof sums[0]);
    _tile_stored(1, sums[0] + 16, sizeof sums[0]);
    for (size_t r = 0; r < rows; ++r) {
      if (sees_any(r)) std::memcpy(o + r * b.dim, sums[r], sizeof sums[r]);
    }
  }
};

// Brings the next page into the second cache, a share with every tile.
class NextPage {
 public:
  explicit NextPage(const BlockRead& b)
      : at_(b.next_page),
        end_(b.next_page == b.page ? at_ : at_ + b.layout->bytes),
        share_(div_up(b.layout->bytes, div_up(b.rows, kTileRows) * 64) * 64) {}
  void fetch() {
    for (const std::byte* end = at_ + std::min<size_t>(share_, static_cast<size_t>(end_ - at_)); at_ < end; at_ += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(at_), _MM_HINT_T1);
    }
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
  size_t share_;
};

// Rows [first, last), `rows` of them at a time.
void fold_rows(const BlockRead& b, size_t first, size_t last, size_t rows, NextPage& page) {
  const TileRegisters registers({.rows = rows});
  const auto seeing = [&](size_t row) {
    while (row < last && TileFold{b, row, rows, 0}.nothing_visible()) row += rows;
    return row;
  };
  // Three tiles are under way (kUnderWay): the unit waits for what has just been stored until it has reached the cache.
  size_t scored = last, weighed = last;
  for (size_t next = seeing(first), turn = 0; next < last || scored < last || weighed < last; ++turn) {
    page.fetch();
    if (next < last) TileFold{b, next, rows, turn % kUnderWay}.score();
    if (scored < last) TileFold{b, scored, rows, (turn + 2) % kUnderWay}.soften();
    if (weighed < last) TileFold{b, weighed, rows, (turn + 1) % kUnderWay}.accumulate();
    weighed = scored;
    scored = next;
    if (next < last) next = seeing(next + rows);
  }
}

void fold(const BlockRead& b) {
  NextPage page(b);
  const size_t whole = b.rows / kTileRows * kTileRows;
  if (whole > 0) fold_rows(b, 0, whole, kTileRows, page);
  if (whole < b.rows) fold_rows(b, whole, b.rows, b.rows - whole, page);
}

template <bool kBytes>
void load_codes(const PageLayout& layout, const std::byte* page, std::byte* block) {
  load_bf16_keys<kBytes>(layout, page, block);
  load_bf16_values<kBytes>(layout, page, block);
}

}  // namespace

const ReadKernel kAttentionAmx = {"bf16 products in matrix tiles", load_bf16_query, load_bf16_block, fold};
const ReadKernel kAttentionKv8Amx = {"bf16 products in matrix tiles", load_bf16_query, load_codes<true>, fold};
const ReadKernel kAttentionKv4Amx = {"bf16 products in matrix tiles", load_bf16_query, load_codes<false>, fold};

}  // namespace loci
