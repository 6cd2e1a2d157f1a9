// Attention of a decode step on the codes themselves (AVX2), for kv8 and kv4: a page is read once for all query heads
// of its group, and never decoded.
//
// Queries are rounded as code_query_avx2.h says. A block's weights p = exp(score - block's maximum) take the scale of
// their values with them into 16 bits, w = rint(p * scale * 32512 / top), top the largest scale that is seen in a group
// of 32 dimensions, and
//     o = top / 32512 * (w . code) + sum of p * minimum.
// Words of four bytes are split into their even and odd bytes, or into their nibbles, as pairs in 16 bits, which
// vpmaddwd multiplies and adds: 64 products of 8 and 16 bits stay below 2^30. Keys of kv4 take 8-bit queries and
// vpmaddubsw, whose sums over a group stay within 8 * 2 * 15 * 127 = 30480 in 16 bits.
// All rows see the same slots: a decode step has one position.
#include <immintrin.h>

#include "kernels/cpu/attention/code_query_avx2.h"
#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/lanes_avx2.h"
#include "kernels/cpu/simd/products_avx2.h"

namespace loci {
namespace {

using namespace simd_avx2;

constexpr size_t kMostGroups = kMaxHeadDim / kCodeGroup;

// Pair `i` of a vector of words, in 16 bits: of kv8 the even and the odd bytes; of kv4 the even and the odd low nibbles
// (numbers 0 .. 3 of the word), then the high ones (4 .. 7).
template <int kBits>
inline __m256i pair(__m256i words, int i) {
  if constexpr (kBits == 8) {
    return i == 0 ? _mm256_and_si256(words, _mm256_set1_epi16(255)) : _mm256_srli_epi16(words, 8);
  } else {
    constexpr int kShift[4] = {0, 8, 4, 12};
    return _mm256_and_si256(_mm256_srli_epi16(words, kShift[i]), _mm256_set1_epi16(15));
  }
}

// The low or the high halves of a vector's bytes.
inline __m256i nibbles(__m256i words, int half) {
  return _mm256_and_si256(half == 0 ? words : _mm256_srli_epi16(words, 4), _mm256_set1_epi8(15));
}

template <int R, int V>
inline void set_zero(__m256i (&x)[R][V]) {
  for (auto& row : x) {
    for (__m256i& y : row) y = _mm256_setzero_si256();
  }
}

// Asks for the line of the next page that will be wanted where `from` is read now. Into the second level: the first can
// have too few lines under way to keep memory busy.
inline void fetch_next(const std::byte* from, ptrdiff_t to_next_page) {
  _mm_prefetch(reinterpret_cast<const char*>(from + to_next_page), _MM_HINT_T1);
}

// The scales of a block's values, per group of dimensions, brought to the levels of a weight.
struct ValueScales {
  alignas(32) float factor[kMostGroups][kPageSlots];
  float step[kMostGroups];

  ValueScales(const BlockRead& b, VisibleSlots visible) {
    for (size_t group = 0; group < b.dim / kCodeGroup; ++group) {
      __m256 scale[kSlotVectors];
      __m256 largest = _mm256_setzero_ps();
      for (int v = 0; v < kSlotVectors; ++v) {
        // What a page holds beside the visible slots is not part of the read.
        const size_t column = group * kPageSlots + size_t(v) * kLanes;
        scale[v] = load_halves(b.page + b.layout->value_scales + column * 2);
        if (!sees_all(visible)) scale[v] = _mm256_and_ps(visible_lanes(visible, v * kLanes), scale[v]);
        largest = _mm256_max_ps(largest, scale[v]);
        if (v % 4 == 0) fetch_next(b.page + b.layout->value_scales + column * 2, b.next_page - b.page);
      }
      const float top = largest_of(largest);
      step[group] = top / kLevels;
      const __m256 inverse = _mm256_set1_ps(top > 0.0F ? kLevels / top : 0.0F);
      for (int v = 0; v < kSlotVectors; ++v) {
        _mm256_store_ps(factor[group] + v * kLanes, _mm256_mul_ps(scale[v], inverse));
      }
    }
  }
};

template <int kBits, int R>
class Fold {
 public:
  Fold(const BlockRead& block, const ValueScales& value_scales, size_t first_row, VisibleSlots slots)
      : b_(block), scales_(value_scales), row_(first_row), visible_(slots), to_next_(block.next_page - block.page) {}

  void run() {
    for (int v = 0; v < kSlotVectors; v += kVectors) score(static_cast<size_t>(v) * kLanes);
    soften();
    for (size_t group = 0; group < b_.dim / kCodeGroup; ++group) accumulate(group);
  }

 private:
  static constexpr int kVectors = R == 1 ? 4 : 2;  // in the register tiles
  static constexpr uint32_t kPerWord = kBits == 8 ? 4 : 8;
  static constexpr size_t kKeyStride = kKeySlots * 4;     // bytes from a run of words to that of the next dimensions
  static constexpr size_t kValueStride = kCodeGroup * 4;  // the same for the next slots

  const BlockRead& b_;
  const ValueScales& scales_;
  size_t row_;
  VisibleSlots visible_;
  ptrdiff_t to_next_;
  alignas(32) float p_[R][kPageSlots];
  alignas(32) int16_t weights_[R][kPageSlots];  // of one group of dimensions, paired
  alignas(32) float old_factor_[8];
  alignas(32) float new_factor_[8];

  void score(size_t slot) {
    const Query<kBits> query = Query<kBits>::at(b_.queries, row_, b_.dim);
    const ptrdiff_t to_next = to_next_;
    __m256 sum[R][kVectors];
    for (auto& row : sum) {
      for (__m256& x : row) x = _mm256_setzero_ps();
    }
    const std::byte* from = b_.page + key_word(*b_.layout, kPerWord, slot, 0);
    const std::byte* terms = query.terms();
    const std::byte* scale_at = b_.page + b_.layout->key_scales + slot * 2;
    const std::byte* minimum_at = b_.page + b_.layout->key_minimums + slot * 2;
    for (size_t group = 0; group < b_.dim / kCodeGroup; ++group) {
      __m256i dot[R][kVectors];
      set_zero(dot);
#pragma GCC unroll 1
      for (size_t d = 0; d < kCodeGroup; d += kPerWord) {
        __m256i words[kVectors];
        for (int v = 0; v < kVectors; ++v) words[v] = load_words(from + v * 32);
        for (int line = 0; line < kVectors / 2; ++line) fetch_next(from + line * 64, to_next);
        multiply_keys(words, terms, dot);
        from += kKeyStride;
        terms += kPerWord / 4 * Query<kBits>::kStride;
      }
      fetch_next(scale_at, to_next);
      fetch_next(minimum_at, to_next);
      for (int v = 0; v < kVectors; ++v) {
        const __m256 scale = load_halves(scale_at + v * kLanes * 2), minimum = load_halves(minimum_at + v * kLanes * 2);
        for (int r = 0; r < R; ++r) {
          if (kBits == 4) dot[r][v] = _mm256_madd_epi16(dot[r][v], _mm256_set1_epi16(1));
          sum[r][v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][v]), scale, sum[r][v]);
          sum[r][v] = _mm256_fmadd_ps(_mm256_set1_ps(query.sum(r, group)), minimum, sum[r][v]);
        }
      }
      scale_at += kPageSlots * 2;
      minimum_at += kPageSlots * 2;
    }
    for (int r = 0; r < R; ++r) {
      const __m256 step = _mm256_set1_ps(query.step(r));
      for (int v = 0; v < kVectors; ++v) _mm256_store_ps(p_[r] + slot + v * kLanes, _mm256_mul_ps(sum[r][v], step));
    }
  }

  // The dimensions of one word.
  static inline void multiply_keys(const __m256i (&words)[kVectors], const std::byte* terms,
                                   __m256i (&dot)[R][kVectors]) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      __m256i codes[kVectors];
      for (int v = 0; v < kVectors; ++v) codes[v] = kBits == 8 ? pair<8>(words[v], i) : nibbles(words[v], i);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const size_t at = size_t(r) * Query<kBits>::kTerm + size_t(i) * (kBits == 8 ? 4 : Query<kBits>::kStride);
        for (int v = 0; v < kVectors; v += 2) {
          if constexpr (kBits == 8) {
            add_word_products(dot[r][v], dot[r][v + 1], codes[v], codes[v + 1], terms + at);
          } else {
            add_byte_products(dot[r][v], dot[r][v + 1], codes[v], codes[v + 1], terms + at);
          }
        }
      }
    }
  }

  // Scores become weights relative to the block's maximum; the states' m and l move on.
  void soften() {
    alignas(32) float old_step[8] = {}, new_step[8] = {}, total[8] = {};
    const __m256 log2e = _mm256_set1_ps(exp_constants::kLog2E);
    for (int r = 0; r < R; ++r) {
      __m256 x[kSlotVectors];
      __m256 largest = _mm256_set1_ps(kMinusInfinity);
      for (int v = 0; v < kSlotVectors; ++v) {
        x[v] = _mm256_load_ps(p_[r] + v * kLanes);
        if (!sees_all(visible_)) {
          x[v] = _mm256_blendv_ps(_mm256_set1_ps(kMinusInfinity), x[v], visible_lanes(visible_, v * kLanes));
        }
        largest = _mm256_max_ps(largest, x[v]);
      }
      const float block_max = largest_of(largest);
      const __m256 offset = _mm256_set1_ps(-block_max * exp_constants::kLog2E);
      __m256 sum = _mm256_setzero_ps();
      for (int v = 0; v < kSlotVectors; ++v) {
        x[v] = exp2_not_above_one(_mm256_fmadd_ps(x[v], log2e, offset));
        _mm256_store_ps(p_[r] + v * kLanes, x[v]);
        sum = _mm256_add_ps(sum, x[v]);
      }
      float& m = b_.state.m[row_ + size_t(r)];
      const float top = block_max > m ? block_max : m;
      old_step[r] = m == top ? 0.0F : m - top;
      new_step[r] = block_max == top ? 0.0F : block_max - top;
      total[r] = sum_of(sum);
      m = top;
    }
    _mm256_store_ps(old_factor_, exp2_not_above_one(_mm256_mul_ps(_mm256_load_ps(old_step), log2e)));
    _mm256_store_ps(new_factor_, exp2_not_above_one(_mm256_mul_ps(_mm256_load_ps(new_step), log2e)));
    for (int r = 0; r < R; ++r) {
      float& l = b_.state.l[row_ + size_t(r)];
      l = l * old_factor_[r] + new_factor_[r] * total[r];
    }
  }

  // The part of 32 dimensions.
  void accumulate(size_t group) {
    float shift[R];  // what the minimums add
    weigh(group, shift);
    for (size_t dim = group * kCodeGroup; dim < (group + 1) * kCodeGroup; dim += kVectors * kLanes) {
      const ptrdiff_t to_next = to_next_;
      __m256i dot[R][kVectors];
      set_zero(dot);
      const std::byte* from = b_.page + value_word(*b_.layout, kPerWord, 0, dim);
      const std::byte* weights = reinterpret_cast<const std::byte*>(weights_[0]);
#pragma GCC unroll 1
      for (size_t slot = 0; slot < kPageSlots; slot += kPerWord, from += kValueStride, weights += 2 * kPerWord) {
        __m256i words[kVectors];
        for (int v = 0; v < kVectors; ++v) words[v] = load_words(from + v * 32);
        for (int line = 0; line < kVectors / 2; ++line) fetch_next(from + line * 64, to_next);
#pragma GCC unroll 4
        for (int i = 0; i < static_cast<int>(kPerWord / 2); ++i) {
          __m256i codes[kVectors];
          for (int v = 0; v < kVectors; ++v) codes[v] = pair<kBits>(words[v], i);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) {
            const std::byte* pairs = weights + size_t(r) * sizeof(weights_[0]) + size_t(i) * 4;
            for (int v = 0; v < kVectors; v += 2) {
              add_word_products(dot[r][v], dot[r][v + 1], codes[v], codes[v + 1], pairs);
            }
          }
        }
      }
      for (int r = 0; r < R; ++r) {
        float* o = b_.state.o + (row_ + size_t(r)) * b_.dim + dim;
        const __m256 step = _mm256_set1_ps(scales_.step[group] * new_factor_[r]);
        const __m256 base = _mm256_set1_ps(shift[r] * new_factor_[r]);
        const __m256 old = _mm256_set1_ps(old_factor_[r]);
        for (int v = 0; v < kVectors; ++v) {
          const __m256 kept = _mm256_fmadd_ps(_mm256_loadu_ps(o + v * kLanes), old, base);
          _mm256_storeu_ps(o + v * kLanes, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][v]), step, kept));
        }
      }
    }
  }

  // The rows' weights for the group, rounded, and what the minimums add.
  void weigh(size_t group, float (&shift)[R]) {
    __m256 sum[R];
    for (__m256& x : sum) x = _mm256_setzero_ps();
    const std::byte* minimum_at = b_.page + b_.layout->value_minimums + group * kPageSlots * 2;
    for (int v = 0; v < kSlotVectors; v += 2) {
      const __m256 minimum[2] = {load_halves(minimum_at + v * 16), load_halves(minimum_at + v * 16 + 16)};
      const float* factor = scales_.factor[group] + v * kLanes;
      for (int r = 0; r < R; ++r) {
        __m256i w[2];
        for (int i = 0; i < 2; ++i) {
          const __m256 x = _mm256_load_ps(p_[r] + (v + i) * kLanes);
          sum[r] = _mm256_fmadd_ps(x, minimum[i], sum[r]);
          w[i] = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_load_ps(factor + i * kLanes)));
        }
        _mm256_store_si256(reinterpret_cast<__m256i*>(weights_[r] + v * kLanes), paired(w[0], w[1]));
      }
    }
    for (size_t line = 0; line < kPageSlots * 2; line += 64) fetch_next(minimum_at + line, to_next_);
    for (int r = 0; r < R; ++r) shift[r] = sum_of(sum[r]);
  }
};

template <int kBits>
void fold_codes(const BlockRead& b) {
  const VisibleSlots visible = b.visible == nullptr ? VisibleSlots{0, kPageSlots} : b.visible[0];
  if (visible.first >= visible.last) return;
  const ValueScales scales(b, visible);
  fold_by_fours(b.rows, [&]<int R>(size_t row) { Fold<kBits, R>(b, scales, row, visible).run(); });
}

}  // namespace

const ReadKernel kAttentionKv8Avx2 = {"integers, 16-bit queries and weights", load_code_query<8>, nullptr,
                                      fold_codes<8>};
const ReadKernel kAttentionKv4Avx2 = {"integers, 8-bit queries, 16-bit weights", load_code_query<4>, nullptr,
                                      fold_codes<4>};

}  // namespace loci
