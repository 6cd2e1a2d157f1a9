// Attention of a prompt's tiles in 16-bit integers (AVX2): vpmaddwd multiplies twice as many numbers as a fused
// multiply-add. A page of any codec is decoded once for all rows of a tile and rounded by entries, so that what a row
// reads does not depend on what else the page holds:
//     queries  q = step * n, |n| <= 32512, a step per row
//     keys     k = step * n, |n| <= 2047, a step per slot and group of 32 dimensions: 32 products stay below 2^31
//     values   v = step * n, |n| <= 4095, a step per slot
//     weights  p * (step of the slot's value) = step * n, n <= 8191, a step per row and block: 64 products below 2^31
// which is nearer than bfloat16 except for numbers far below their group's largest.
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/attention/fold_kernels.h"
#include "kernels/cpu/attention/lanes_avx2.h"
#include "kernels/cpu/kv_codec/decode_page.h"
#include "kernels/cpu/simd/products_avx2.h"
#include "kernels/cpu/simd/vec16_avx2.h"

namespace loci {
namespace {

using namespace simd_avx2;

constexpr float kQueryLevels = 32512.0F;
constexpr float kKeyLevels = 2047.0F;
constexpr float kValueLevels = 4095.0F;
constexpr float kWeightLevels = 8191.0F;
constexpr size_t kTile = 4;  // rows whose queries are interleaved, two dimensions each

// Queries: terms [dim / 2][4 rows][2], then the rows' steps.
size_t tile_bytes(size_t dim) { return dim * kTile * sizeof(int16_t) + kTile * sizeof(float); }
size_t steps_of(size_t dim) { return dim * kTile * sizeof(int16_t); }

// A block: keys [dim / 2][64 slots][2], values [32 pairs of slots][dim][2], steps of the keys [dim / 32][64], of the
// values [64].
template <typename Byte>  // const or not
struct Words {
  using Float = std::conditional_t<std::is_const_v<Byte>, const float, float>;

  Byte* block;
  size_t dim;

  Byte* keys() const { return block; }
  Byte* values() const { return block + dim * kPageSlots * sizeof(int16_t); }
  Float* key_steps() const { return reinterpret_cast<Float*>(block + 2 * dim * kPageSlots * sizeof(int16_t)); }
  Float* value_steps() const { return key_steps() + dim / kCodeGroup * kPageSlots; }
};

// The step of numbers of at most `largest`, and its inverse. A page holds neither infinities nor NaN.
__m256 step_of(__m256 largest, float levels) { return _mm256_mul_ps(largest, _mm256_set1_ps(1.0F / levels)); }
__m256 inverse_of(__m256 largest, float levels) {
  const __m256 usable = _mm256_cmp_ps(largest, _mm256_set1_ps(0x1p-100F), _CMP_GT_OQ);
  return _mm256_and_ps(_mm256_div_ps(_mm256_set1_ps(levels), largest), usable);
}

// Neighbours of 16 bits: a in the low halves, b in the high ones.
__m256i interleaved(__m256i a, __m256i b) { return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa); }

void load_word_query(const float* q, size_t row, size_t, size_t dim, std::byte* queries) {
  std::byte* tile = queries + row / kTile * tile_bytes(dim);
  const float top = largest_magnitude(q, dim);
  const bool usable = std::isfinite(top) && top > 0x1p-100F;
  const float step = std::isfinite(top) ? top / kQueryLevels : std::numeric_limits<float>::quiet_NaN();
  const __m256 inverse = _mm256_set1_ps(usable ? kQueryLevels / top : 0.0F);
  for (size_t d = 0; d < dim; d += kLanes) {
    const __m256i terms =
        usable ? _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(q + d), inverse)) : _mm256_setzero_si256();
    alignas(16) uint32_t pairs[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(pairs),
                    _mm_packs_epi32(_mm256_castsi256_si128(terms), _mm256_extracti128_si256(terms, 1)));
    for (size_t i = 0; i < 4; ++i) std::memcpy(tile + ((d / 2 + i) * kTile + row % kTile) * 4, &pairs[i], 4);
  }
  std::memcpy(tile + steps_of(dim) + row % kTile * sizeof step, &step, sizeof step);
}

// keys [dim][64] in fp32.
void round_keys(const float* keys, const Words<std::byte>& words, float* steps) {
  for (size_t slot = 0; slot < kPageSlots; slot += kLanes) {
    for (size_t group = 0; group < words.dim / kCodeGroup; ++group) {
      const float* from = keys + group * kCodeGroup * kPageSlots + slot;
      __m256 largest = _mm256_setzero_ps();
      for (size_t d = 0; d < kCodeGroup; ++d) largest = larger(largest, _mm256_loadu_ps(from + d * kPageSlots));
      const __m256 inverse = inverse_of(largest, kKeyLevels);
      _mm256_storeu_ps(steps + group * kPageSlots + slot, step_of(largest, kKeyLevels));
      const auto term = [&](size_t d) {
        return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from + d * kPageSlots), inverse));
      };
      std::byte* to = words.keys() + (group * kCodeGroup / 2 * kPageSlots + slot) * 4;
      for (size_t d = 0; d < kCodeGroup; d += 2, to += kPageSlots * 4) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), interleaved(term(d), term(d + 1)));
      }
    }
  }
}

// values [64][dim] in fp32.
void round_values(const float* values, const Words<std::byte>& words, float* steps) {
  const size_t dim = words.dim;
  for (size_t slot = 0; slot < kPageSlots; slot += 2) {
    const float* from[2] = {values + slot * dim, values + (slot + 1) * dim};
    __m256 inverse[2];
    for (int i = 0; i < 2; ++i) {
      const __m256 top = _mm256_set1_ps(largest_magnitude(from[i], dim));
      inverse[i] = inverse_of(top, kValueLevels);
      steps[slot + size_t(i)] = _mm256_cvtss_f32(step_of(top, kValueLevels));
    }
    std::byte* to = words.values() + slot / 2 * dim * 4;
    for (size_t d = 0; d < dim; d += kLanes, to += 32) {
      const __m256i even = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from[0] + d), inverse[0]));
      const __m256i odd = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from[1] + d), inverse[1]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), interleaved(even, odd));
    }
  }
}

// The block's second half holds the page's values, then its keys, in fp32 before they are rounded into the first half;
// at the end the steps.
void load_words_block(const PageLayout& layout, const std::byte* page, std::byte* block) {
  const Words<std::byte> words{block, layout.padded_dim};
  float* decoded = words.key_steps();
  float value_steps[kPageSlots];
  decode_values<Vec16>(layout, page, decoded);
  round_values(decoded, words, value_steps);
  decode_keys<Vec16>(layout, page, decoded);
  alignas(32) float key_steps[kMaxHeadDim / kCodeGroup][kPageSlots];
  round_keys(decoded, words, key_steps[0]);
  std::memcpy(words.key_steps(), key_steps, words.dim / kCodeGroup * sizeof key_steps[0]);
  std::memcpy(words.value_steps(), value_steps, sizeof value_steps);
}

template <int R>
class Fold {
 public:
  Fold(const BlockRead& block, size_t first_row) : b_(block), words_{block.block, block.dim}, row_(first_row) {}

  void run() {
    if (b_.visible != nullptr) {
      int seeing = 0;
      for (int r = 0; r < R; ++r) seeing += blind(visible(r)) ? 0 : 1;
      if (seeing == 0) return;
    }
    for (size_t slot = 0; slot < kPageSlots; slot += 2 * kLanes) score(slot);
    for (int r = 0; r < R; ++r) soften(r);
    for (size_t d = 0; d < b_.dim; d += 2 * kLanes) accumulate(d);
  }

 private:
  const BlockRead& b_;
  Words<const std::byte> words_;
  size_t row_;
  alignas(32) float p_[R][kPageSlots];
  alignas(32) int16_t weights_[R][kPageSlots];
  float old_factor_[R];
  float step_[R];  // of the weights, with the factor of the block

  static bool blind(VisibleSlots slots) { return slots.first >= slots.last; }
  VisibleSlots visible(int r) const {
    return b_.visible == nullptr ? VisibleSlots{0, kPageSlots} : b_.visible[row_ + size_t(r)];
  }

  void score(size_t slot) {
    __m256 sum[R][2];
    for (auto& row : sum) row[0] = row[1] = _mm256_setzero_ps();
    const std::byte* terms = b_.queries + row_ / kTile * tile_bytes(b_.dim);
    const std::byte* keys = words_.keys() + slot * 4;
    const float* steps = words_.key_steps() + slot;
    for (size_t group = 0; group < b_.dim / kCodeGroup; ++group, steps += kPageSlots) {
      __m256i dot[R][2];
      for (auto& row : dot) row[0] = row[1] = _mm256_setzero_si256();
#pragma GCC unroll 2
      for (size_t d = 0; d < kCodeGroup; d += 2, keys += kPageSlots * 4, terms += kTile * 4) {
        const __m256i first = load_words(keys), second = load_words(keys + 32);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) add_word_products(dot[r][0], dot[r][1], first, second, terms + r * 4);
      }
      const __m256 step[2] = {_mm256_loadu_ps(steps), _mm256_loadu_ps(steps + kLanes)};
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < 2; ++v) sum[r][v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][v]), step[v], sum[r][v]);
      }
    }
    for (int r = 0; r < R; ++r) {
      float step;
      std::memcpy(&step, terms + size_t(r) * 4, sizeof step);  // the steps follow the terms
      for (int v = 0; v < 2; ++v) {
        _mm256_store_ps(p_[r] + slot + size_t(v) * kLanes, _mm256_mul_ps(sum[r][v], _mm256_set1_ps(step)));
      }
    }
  }

  // Scores become weights relative to the block's maximum, rounded; the state's m and l move on.
  void soften(int r) {
    const VisibleSlots slots = visible(r);
    float& m = b_.state.m[row_ + size_t(r)];
    float& l = b_.state.l[row_ + size_t(r)];
    if (blind(slots)) {
      std::memset(weights_[r], 0, sizeof weights_[r]);
      return;
    }
    __m256 x[kSlotVectors];
    __m256 largest = _mm256_set1_ps(kMinusInfinity);
    for (int v = 0; v < kSlotVectors; ++v) {
      x[v] = _mm256_load_ps(p_[r] + v * kLanes);
      if (!sees_all(slots))
        x[v] = _mm256_blendv_ps(_mm256_set1_ps(kMinusInfinity), x[v], visible_lanes(slots, v * kLanes));
      largest = _mm256_max_ps(largest, x[v]);
    }
    const float block_max = largest_of(largest);
    const __m256 log2e = _mm256_set1_ps(exp_constants::kLog2E);
    const __m256 offset = _mm256_set1_ps(-block_max * exp_constants::kLog2E);
    __m256 total = _mm256_setzero_ps();
    for (__m256& p : x) {
      p = exp2_not_above_one(_mm256_fmadd_ps(p, log2e, offset));
      total = _mm256_add_ps(total, p);
    }
    const float top = block_max > m ? block_max : m;
    const __m128 steps = _mm_mul_ps(_mm_setr_ps(m - top, block_max - top, 0, 0), _mm256_castps256_ps128(log2e));
    const __m128 factors = _mm256_castps256_ps128(exp2_not_above_one(_mm256_castps128_ps256(steps)));
    old_factor_[r] = m == top ? 1.0F : _mm_cvtss_f32(factors);
    const float new_factor = block_max == top ? 1.0F : _mm_cvtss_f32(_mm_movehdup_ps(factors));
    l = l * old_factor_[r] + new_factor * sum_of(total);
    m = top;
    step_[r] = new_factor * round_weights(r, x);
  }

  // Weights with the steps of their values, in 16 bits; returns their step.
  float round_weights(int r, __m256 (&x)[kSlotVectors]) {
    __m256 largest = _mm256_setzero_ps();
    for (int v = 0; v < kSlotVectors; ++v) {
      x[v] = _mm256_mul_ps(x[v], _mm256_loadu_ps(words_.value_steps() + v * kLanes));
      largest = _mm256_max_ps(largest, x[v]);
    }
    const float most = largest_of(largest);
    const __m256 inverse = _mm256_set1_ps(most > 0x1p-100F ? kWeightLevels / most : 0.0F);
    for (int v = 0; v < kSlotVectors; v += 2) {
      const __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(x[v], inverse)),
                                                _mm256_cvtps_epi32(_mm256_mul_ps(x[v + 1], inverse)));
      _mm256_store_si256(reinterpret_cast<__m256i*>(weights_[r] + v * kLanes), _mm256_permute4x64_epi64(packed, 0xd8));
    }
    return most / kWeightLevels;
  }

  // Sixteen dimensions from `d` on.
  void accumulate(size_t d) {
    __m256i dot[R][2];
    for (auto& row : dot) row[0] = row[1] = _mm256_setzero_si256();
    const std::byte* values = words_.values() + d * 4;
    const std::byte* weights = reinterpret_cast<const std::byte*>(weights_[0]);
    const size_t stride = b_.dim * 4;
#pragma GCC unroll 2
    for (size_t slot = 0; slot < kPageSlots; slot += 2, values += stride, weights += 4) {
      const __m256i first = load_words(values), second = load_words(values + 32);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        add_word_products(dot[r][0], dot[r][1], first, second, weights + size_t(r) * sizeof weights_[0]);
      }
    }
    for (int r = 0; r < R; ++r) {
      if (blind(visible(r))) continue;
      float* o = b_.state.o + (row_ + size_t(r)) * b_.dim + d;
      const __m256 step = _mm256_set1_ps(step_[r]), old = _mm256_set1_ps(old_factor_[r]);
      for (int v = 0; v < 2; ++v) {
        const __m256 kept = _mm256_mul_ps(_mm256_loadu_ps(o + v * kLanes), old);
        _mm256_storeu_ps(o + v * kLanes, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][v]), step, kept));
      }
    }
  }
};

void fold_words(const BlockRead& b) {
  fold_by_fours(b.rows, [&]<int R>(size_t row) { Fold<R>(b, row).run(); });
}

}  // namespace

const ReadKernel kAttentionWordsAvx2 = {"16-bit integers", load_word_query, load_words_block, fold_words};

}  // namespace loci
