// Attention of a decode step on the codes themselves (AVX512_VNNI), for kv8 and kv4: a page is read once for all query
// heads of its group, and never decoded.
//
// Queries are rounded as code_query_avx512.h says. A block's weights p = exp(score - block's maximum) take the
// scale of their values with them into 16 bits, w = rint(p * scale * 32512 / top), top the largest scale that is seen
// in a group of 32 dimensions, and
//     o = top / 32512 * (256 high . code + low . code) + sum of p * minimum.
// All rows see the same slots: a decode step has one position.
//
// Of the multiplier operations nine tenths are dot products; per byte of page they take less time than memory does for
// up to about four query heads a group.
#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "kernels/cpu/attention/code_query_avx512.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/soften_avx512.h"

namespace loci {
namespace {

using namespace simd_avx512;

constexpr size_t kMostGroups = kMaxHeadDim / kCodeGroup;

// Asks for the next page line by line, evenly spread over the work on the present one. Pages of kv8 go into the second
// level: the first can have too few lines under way to keep memory busy. Those of kv4 are half as long, and arithmetic
// is what bounds them: in the first level they are at hand.
template <int kBits>
class Ahead {
 public:
  // `steps` calls of step() fetch the page, what is wanted first (from `first` on) first.
  Ahead(const std::byte* page, size_t bytes, size_t first, size_t steps)
      : page_(page), bytes_(bytes), at_(first), left_(bytes), step_((bytes / 64 + steps - 1) / steps * 64) {}
  void step() {
    for (size_t end = left_ > step_ ? left_ - step_ : 0; left_ > end; left_ -= 64) {
      _mm_prefetch(reinterpret_cast<const char*>(page_ + at_), kBits == 4 ? _MM_HINT_T0 : _MM_HINT_T1);
      at_ = at_ + 64 == bytes_ ? 0 : at_ + 64;
    }
  }

 private:
  const std::byte* page_;
  size_t bytes_;
  size_t at_;
  size_t left_;
  size_t step_;
};

// 256 high + low as floats.
__m512 joined(__m512i high, __m512i low) {
  return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}

// sum_high[r][v] += codes[v] . the four high terms of row r, sum_low likewise if there are low ones.
template <bool kLow, int R, int V>
[[gnu::always_inline]] inline void multiply_codes(const __m512i (&codes)[V], const std::byte* const (&high)[R],
                                                  const std::byte* const (&low)[R], size_t at,
                                                  __m512i (&sum_high)[R][V], __m512i (&sum_low)[R][V]) {
  for (int r = 0; r < R; ++r) {
    const __m512i x = broadcast_i32(high[r] + at);
    for (int v = 0; v < V; ++v) sum_high[r][v] = add_products(sum_high[r][v], codes[v], x);
    if constexpr (kLow) {
      const __m512i y = broadcast_i32(low[r] + at);
      for (int v = 0; v < V; ++v) sum_low[r][v] = add_products(sum_low[r][v], codes[v], y);
    }
  }
}

template <int R, int V>
void set_zero(__m512i (&x)[R][V]) {
  for (auto& row : x) {
    for (__m512i& y : row) y = _mm512_setzero_si512();
  }
}

// The scales of a block's values, per group of dimensions, brought to the levels of a weight.
struct ValueScales {
  alignas(64) float factor[kMostGroups][kPageSlots];
  float step[kMostGroups];

  ValueScales(const BlockRead& b, VisibleSlots visible) {
    for (size_t group = 0; group < b.dim / kCodeGroup; ++group) {
      __m512 scale[kSlotVectors];
      __m512 largest = _mm512_setzero_ps();
      for (int v = 0; v < kSlotVectors; ++v) {
        // What a page holds beside the visible slots is not part of the read.
        scale[v] = _mm512_maskz_mov_ps(
            visible_lanes(visible, v * 16),
            load_halves(b.page + b.layout->value_scales + (group * kPageSlots + static_cast<size_t>(v) * 16) * 2));
        largest = _mm512_max_ps(largest, scale[v]);
      }
      const float top = _mm512_reduce_max_ps(largest);
      step[group] = top / kLevels;
      const __m512 inverse = _mm512_set1_ps(top > 0.0F ? kLevels / top : 0.0F);
      for (int v = 0; v < kSlotVectors; ++v) _mm512_store_ps(factor[group] + v * 16, _mm512_mul_ps(scale[v], inverse));
    }
  }
};

template <int kBits, int R>
struct Fold {
  static constexpr int kVectors =
      R <= 2 || (R == 3 && kBits == 4) ? 4 : 2;  // slot vectors in the register tile of the scores
  static constexpr uint32_t kPerWord = kBits == 8 ? 4 : 8;

  const BlockRead& b;
  const ValueScales& scales;
  Ahead<kBits>& ahead;
  size_t row;
  VisibleSlots visible;
  alignas(64) float p[R][kPageSlots];
  alignas(64) std::byte high[R][kPageSlots];
  alignas(64) std::byte low[R][kPageSlots];
  float old_factor[R];
  float new_factor[R];

  void run() {
    for (int v = 0; v < kSlotVectors; v += kVectors) score(static_cast<size_t>(v) * 16);
    for (int r = 0; r < R; ++r) soften(r);
    for (size_t group = 0; group < b.dim / kCodeGroup; ++group) accumulate(group);
  }

  void score(size_t slot) {
    const std::byte* query_high[R];
    const std::byte* query_low[R];
    __m512 sum[R][kVectors];
    for (int r = 0; r < R; ++r) {
      const Query query = Query::at(b.queries, row + size_t(r), b.dim);
      query_high[r] = query.high();
      query_low[r] = query.low();
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
    }
    for (size_t group = 0; group < b.dim / kCodeGroup; ++group) {
      __m512i sum_high[R][kVectors], sum_low[R][kVectors];
      set_zero(sum_high);
      set_zero(sum_low);
      for (size_t d = group * kCodeGroup; d < (group + 1) * kCodeGroup; d += kPerWord) {
        ahead.step();
        __m512i words[kVectors], codes[kVectors];
        for (int v = 0; v < kVectors; ++v) {
          words[v] = _mm512_loadu_si512(b.page + key_word(*b.layout, kPerWord, slot + size_t(v) * 16, d));
          codes[v] = low_codes<kBits>(words[v]);
        }
        multiply_codes<kBits == 8, R, kVectors>(codes, query_high, query_low, d / 4 * Query::kStride, sum_high,
                                                sum_low);
        if constexpr (kBits == 4) {
          for (int v = 0; v < kVectors; ++v) codes[v] = high_codes(words[v]);
          multiply_codes<kBits == 8, R, kVectors>(codes, query_high, query_low, (d / 4 + 1) * Query::kStride, sum_high,
                                                  sum_low);
        }
      }
      for (int v = 0; v < kVectors; ++v) {
        const size_t column = (group * kPageSlots + slot + static_cast<size_t>(v) * 16) * 2;
        const __m512 scale = load_halves(b.page + b.layout->key_scales + column);
        const __m512 minimum = load_halves(b.page + b.layout->key_minimums + column);
        for (int r = 0; r < R; ++r) {
          const __m512 total = _mm512_set1_ps(Query::at(b.queries, row + size_t(r), b.dim).sum(group));
          const __m512 product =
              kBits == 8 ? joined(sum_high[r][v], sum_low[r][v]) : _mm512_cvtepi32_ps(sum_high[r][v]);
          sum[r][v] = _mm512_fmadd_ps(product, scale, sum[r][v]);
          sum[r][v] = _mm512_fmadd_ps(total, minimum, sum[r][v]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      const __m512 step = _mm512_set1_ps(Query::at(b.queries, row + size_t(r), b.dim).step());
      for (int v = 0; v < kVectors; ++v) {
        _mm512_store_ps(p[r] + slot + size_t(v) * 16, _mm512_mul_ps(sum[r][v], step));
      }
    }
  }

  // Scores become weights relative to the block's maximum; the state's m and l move on.
  void soften(int r) {
    __m512 x[kSlotVectors];
    __m512 largest = _mm512_set1_ps(kMinusInfinity);
    for (int v = 0; v < kSlotVectors; ++v) {
      x[v] = _mm512_mask_blend_ps(visible_lanes(visible, v * 16), _mm512_set1_ps(kMinusInfinity),
                                  _mm512_load_ps(p[r] + v * 16));
      largest = _mm512_max_ps(largest, x[v]);
    }
    const float block_max = _mm512_reduce_max_ps(largest);
    const __m512 log2e = _mm512_set1_ps(exp_constants::kLog2E);
    const __m512 offset = _mm512_set1_ps(-block_max * exp_constants::kLog2E);
    for (__m512& y : x) y = exp2_not_above_one(_mm512_fmadd_ps(y, log2e, offset));
    float& m = b.state.m[row + size_t(r)];
    float& l = b.state.l[row + size_t(r)];
    const float top = block_max > m ? block_max : m;
    const __m512 steps = _mm512_set_ps(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, block_max - top, m - top);
    alignas(64) float factors[16];
    _mm512_store_ps(factors, exp2_not_above_one(_mm512_mul_ps(steps, log2e)));
    old_factor[r] = m == top ? 1.0F : factors[0];
    new_factor[r] = block_max == top ? 1.0F : factors[1];
    l = l * old_factor[r] +
        new_factor[r] * _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(x[0], x[1]), _mm512_add_ps(x[2], x[3])));
    m = top;
    for (int v = 0; v < kSlotVectors; ++v) _mm512_store_ps(p[r] + v * 16, x[v]);
  }

  // The part of 32 dimensions.
  void accumulate(size_t group) {
    float shift[R];  // what the minimums add
    const std::byte* weight_high[R];
    const std::byte* weight_low[R];
    for (int r = 0; r < R; ++r) {
      __m512 sum = _mm512_setzero_ps();
      for (int v = 0; v < kSlotVectors; ++v) {
        const __m512 x = _mm512_load_ps(p[r] + v * 16);
        const __m512 minimum =
            load_halves(b.page + b.layout->value_minimums + (group * kPageSlots + static_cast<size_t>(v) * 16) * 2);
        sum = _mm512_fmadd_ps(x, minimum, sum);
        const __m512 factor = _mm512_load_ps(scales.factor[group] + v * 16);
        const Terms terms = terms_of(_mm512_cvtps_epi32(_mm512_mul_ps(x, factor)));
        _mm_store_si128(reinterpret_cast<__m128i*>(high[r] + v * 16), _mm512_cvtepi32_epi8(terms.high));
        _mm_store_si128(reinterpret_cast<__m128i*>(low[r] + v * 16), _mm512_cvtepi32_epi8(terms.low));
      }
      shift[r] = _mm512_reduce_add_ps(sum);
      weight_high[r] = high[r];
      weight_low[r] = low[r];
    }
    __m512i sum_high[R][2], sum_low[R][2];
    set_zero(sum_high);
    set_zero(sum_low);
    for (size_t slot = 0; slot < kPageSlots; slot += kPerWord) {
      const std::byte* from = b.page + value_word(*b.layout, kPerWord, slot, group * kCodeGroup);
      ahead.step();
      const __m512i words[2] = {_mm512_loadu_si512(from), _mm512_loadu_si512(from + 64)};
      __m512i codes[2] = {low_codes<kBits>(words[0]), low_codes<kBits>(words[1])};
      multiply_codes<true, R, 2>(codes, weight_high, weight_low, slot, sum_high, sum_low);
      if constexpr (kBits == 4) {
        codes[0] = high_codes(words[0]);
        codes[1] = high_codes(words[1]);
        multiply_codes<true, R, 2>(codes, weight_high, weight_low, slot + 4, sum_high, sum_low);
      }
    }
    for (int r = 0; r < R; ++r) {
      float* o = b.state.o + (row + size_t(r)) * b.dim + group * kCodeGroup;
      const __m512 step = _mm512_set1_ps(scales.step[group] * new_factor[r]);
      const __m512 base = _mm512_set1_ps(shift[r] * new_factor[r]);
      const __m512 old = _mm512_set1_ps(old_factor[r]);
      for (int v = 0; v < 2; ++v) {
        const __m512 kept = _mm512_fmadd_ps(_mm512_loadu_ps(o + v * 16), old, base);
        _mm512_storeu_ps(o + v * 16, _mm512_fmadd_ps(joined(sum_high[r][v], sum_low[r][v]), step, kept));
      }
    }
  }
};

template <int kBits>
void fold_codes(const BlockRead& b) {
  const VisibleSlots visible = b.visible == nullptr ? VisibleSlots{0, kPageSlots} : b.visible[0];
  if (visible.first >= visible.last) return;
  // Words of keys and of values that the first rows walk through, keys at least once.
  constexpr size_t kPerWord = kBits == 8 ? 4 : 8;
  Ahead<kBits> ahead(b.next_page, b.layout->bytes, b.layout->key_scales,
                     b.dim / kPerWord + b.dim / kCodeGroup * (kPageSlots / kPerWord));
  const ValueScales scales(b, visible);
  fold_by_fours(b.rows,
                [&]<int R>(size_t row) { Fold<kBits, R>{b, scales, ahead, row, visible, {}, {}, {}, {}, {}}.run(); });
}

}  // namespace

const ReadKernel kAttentionKv8Avx512 = {"integers, 16-bit queries and weights", load_code_query<8>, nullptr,
                                        fold_codes<8>};
const ReadKernel kAttentionKv4Avx512 = {"integers, 8-bit queries, 16-bit weights", load_code_query<4>, nullptr,
                                        fold_codes<4>};

}  // namespace loci
