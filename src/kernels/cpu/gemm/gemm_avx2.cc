// AVX2. A vector is 8 outputs, half a panel; a group has up to 4 rows. vpmaddubsw multiplies unsigned codes by signed
// activations and adds neighbours to 16 bits with saturation, which these ranges never reach:
//   4-bit codes: a pair is at most 2 * 15 * 127 = 3810 in magnitude, and the sum of all 8 of a block's pairs 30480 <
//   32768, so
//     a whole block is added up in 16 bits;
//   8-bit codes with a minimum are at most 31: a pair is at most 7874;
//   8-bit codes with a bias become |w| <= 128 and activations with the sign of w: at most 2 * 128 * 127 = 32512.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

constexpr size_t kPrefetchBytes = 6144;  // ahead of the weights being read: 200 ns of a core's bandwidth

inline __m256i broadcast_i32(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof value);
  return _mm256_set1_epi32(value);
}

inline __m256 broadcast_f32(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return _mm256_set1_ps(value);
}

inline __m256i load_bytes(const std::byte* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

inline __m256 load_halves(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// Eight outputs (half 0 or 1 of the panel) of each row.
template <int kRows>
inline void store_rows(const PanelProduct& p, int half, const __m256* acc) {
  const int exist = static_cast<int>(p.outputs) - 8 * half;
  if (exist <= 0) return;
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(exist), lanes);
  for (int r = 0; r < kRows; ++r) _mm256_maskstore_ps(p.out + r * p.out_stride + 8 * half, mask, acc[r]);
}

// Integer dot products over a whole block of 4-bit codes, raw or less 8.
template <bool kMinimum, int kRows>
inline void dot_4bit(const std::byte* codes, const std::byte* block, __m256i* idot) {
  const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i pair = load_bytes(codes + 64 * j);
    const __m256i first = _mm256_and_si256(pair, low);
    const __m256i second = _mm256_and_si256(_mm256_srli_epi16(pair, 4), low);
    for (int r = 0; r < kRows; ++r) {
      const std::byte* q = block + 32 * r + 4 * j;
      sums[r] = _mm256_add_epi16(sums[r], _mm256_maddubs_epi16(first, broadcast_i32(q)));
      sums[r] = _mm256_add_epi16(sums[r], _mm256_maddubs_epi16(second, broadcast_i32(q + 16)));
    }
  }
  for (int r = 0; r < kRows; ++r) {
    idot[r] = _mm256_madd_epi16(sums[r], ones);
    if (!kMinimum) {
      const __m256i bias = broadcast_i32(block + ActivationBlock::bias(kRows) + 4 * r);
      idot[r] = _mm256_add_epi32(idot[r], _mm256_srai_epi32(bias, 4));
    }
  }
}

// Integer dot products over a group of 8-bit codes, raw or less 128.
template <int kGroup, bool kMinimum, int kRows>
inline void dot_8bit(const std::byte* codes, const std::byte* block, int first, __m256i* idot) {
  const __m256i ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8(-128);
  for (int r = 0; r < kRows; ++r) idot[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (int j = 0; j < kGroup / 4; ++j) {
    const __m256i code = load_bytes(codes + 16 * first + 64 * j);
    const __m256i weight = _mm256_xor_si256(code, flip);
    const __m256i magnitude = kMinimum ? code : _mm256_abs_epi8(weight);
    for (int r = 0; r < kRows; ++r) {
      __m256i q = broadcast_i32(block + 32 * r + first + 4 * j);
      if (!kMinimum) q = _mm256_sign_epi8(q, weight);
      idot[r] = _mm256_add_epi32(idot[r], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, q), ones));
    }
  }
}

// activation scale * sum of q over the group.
template <int kGroup>
inline __m256 scale_sum(const std::byte* block, int rows, int row, int first) {
  if (kGroup == 32) return broadcast_f32(block + ActivationBlock::scale_sum(rows) + 4 * row);
  const __m256i low = broadcast_i32(block + ActivationBlock::low_bias(rows) + 4 * row);
  const __m256i all = broadcast_i32(block + ActivationBlock::bias(rows) + 4 * row);
  const __m256i minus_sum = _mm256_srai_epi32(first == 0 ? low : _mm256_sub_epi32(all, low), 7);
  const __m256i sum = _mm256_sub_epi32(_mm256_setzero_si256(), minus_sum);
  return _mm256_mul_ps(broadcast_f32(block + ActivationBlock::scale(rows) + 4 * row), _mm256_cvtepi32_ps(sum));
}

template <int kBits, int kGroup, bool kMinimum, int kRows>
inline void multiply_half(const PanelProduct& p, int half) {
  __m256 acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = _mm256_setzero_ps();
  constexpr size_t kGroupBytes = kMinimum ? 64 : 32;
  constexpr size_t kBlockBytes = 64 * kBits + 32 / kGroup * kGroupBytes;
  const std::byte* codes = p.panel + p.shape.blocks + 32 * half;
  const std::byte* block = p.group;
  for (uint32_t b = 0; b < p.columns / 32; ++b) {
    if (half == 0) {
      for (size_t line = 0; line < kBlockBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes + line), _MM_HINT_T0);
      }
    }
    const std::byte* scales = codes - 16 * half + 64 * kBits;
#pragma GCC unroll 2
    for (int first = 0; first < 32; first += kGroup, scales += kGroupBytes) {
      __m256i idot[kRows];
      if constexpr (kBits == 4) {
        dot_4bit<kMinimum, kRows>(codes, block, idot);
      } else {
        dot_8bit<kGroup, kMinimum, kRows>(codes, block, first, idot);
      }
      const __m256 weight_scale = load_halves(scales);
      for (int r = 0; r < kRows; ++r) {
        const __m256 scale = _mm256_mul_ps(weight_scale, broadcast_f32(block + ActivationBlock::scale(kRows) + 4 * r));
        acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(idot[r]), scale, acc[r]);
        if (kMinimum) {
          acc[r] = _mm256_fmadd_ps(scale_sum<kGroup>(block, kRows, r, first), load_halves(scales + 32), acc[r]);
        }
      }
    }
    codes += kBlockBytes;
    block += ActivationBlock::kRowBytes * kRows;
  }
  const __m256 unit = _mm256_loadu_ps(reinterpret_cast<const float*>(p.panel) + 8 * half);
  for (int r = 0; r < kRows; ++r) acc[r] = _mm256_mul_ps(acc[r], unit);
  store_rows<kRows>(p, half, acc);
}

template <int kBits, int kGroup, bool kMinimum, int kRows>
void multiply_rows(const PanelProduct& p) {
  for (int half = 0; half < 2; ++half) multiply_half<kBits, kGroup, kMinimum, kRows>(p, half);
}

template <WeightLayout kLayout>
inline __m256 load_column(const std::byte* panel, size_t k, int half) {
  if constexpr (kLayout == WeightLayout::kF32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(panel) + 16 * k + 8 * half);
  } else if constexpr (kLayout == WeightLayout::kF16) {
    return load_halves(panel + 32 * k + 16 * half);
  } else {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(panel + 32 * k + 16 * half));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
}

template <WeightLayout kLayout, int kRows>
void multiply_float_rows(const PanelProduct& p) {
  __m256 low[kRows], high[kRows];
  for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_ps();
  for (size_t k = 0; k < p.columns; ++k) {
    const __m256 w_low = load_column<kLayout>(p.panel, k, 0), w_high = load_column<kLayout>(p.panel, k, 1);
    for (int r = 0; r < kRows; ++r) {
      const __m256 x = broadcast_f32(p.group + 4 * (k * kRows + r));
      low[r] = _mm256_fmadd_ps(w_low, x, low[r]);
      high[r] = _mm256_fmadd_ps(w_high, x, high[r]);
    }
  }
  store_rows<kRows>(p, 0, low);
  store_rows<kRows>(p, 1, high);
}

template <int kBits, int kGroup, bool kMinimum>
void multiply_integer(const PanelProduct& p) {
  switch (p.rows) {
    case 1:
      return multiply_rows<kBits, kGroup, kMinimum, 1>(p);
    case 2:
      return multiply_rows<kBits, kGroup, kMinimum, 2>(p);
    default:
      return multiply_rows<kBits, kGroup, kMinimum, 4>(p);
  }
}

template <WeightLayout kLayout>
void multiply_float(const PanelProduct& p) {
  switch (p.rows) {
    case 1:
      return multiply_float_rows<kLayout, 1>(p);
    case 2:
      return multiply_float_rows<kLayout, 2>(p);
    default:
      return multiply_float_rows<kLayout, 4>(p);
  }
}

}  // namespace

MultiplyPanel multiply_panel_avx2(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::kW4:
      return multiply_integer<4, 32, false>;
    case WeightLayout::kW4m:
      return multiply_integer<4, 32, true>;
    case WeightLayout::kW8:
      return multiply_integer<8, 32, false>;
    case WeightLayout::kW8m:
      return multiply_integer<8, 32, true>;
    case WeightLayout::kW8x16:
      return multiply_integer<8, 16, false>;
    case WeightLayout::kW8mx16:
      return multiply_integer<8, 16, true>;
    case WeightLayout::kF32:
      return multiply_float<WeightLayout::kF32>;
    case WeightLayout::kF16:
      return multiply_float<WeightLayout::kF16>;
    case WeightLayout::kBF16:
      break;
  }
  return multiply_float<WeightLayout::kBF16>;
}

}  // namespace loci::detail
