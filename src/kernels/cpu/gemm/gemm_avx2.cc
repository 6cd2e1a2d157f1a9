// AVX2. A vector is 8 outputs, half a panel; a group has up to 4 rows. vpmaddubsw multiplies unsigned codes by signed
// activations and adds neighbours to 16 bits with saturation, which these ranges never reach. Codes are multiplied as
// halves of 4 bits, whose 8 pairs of a block stay within 8 * 2 * 15 * 128 = 30720 < 32768, so a whole block is added up
// in 16 bits. 8-bit codes with a minimum are at most 31: 4 pairs stay within 4 * 2 * 31 * 128 = 31744.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/gemm/dot_avx2.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

using namespace simd_avx2;

template <int kBits, int kGroup, bool kMinimum, int kRows>
class IntegerHalf {
 public:
  // Eight outputs of each row: half 0 to 3 of the tile.
  static void multiply(const TileProduct& t, int half) {
    __m256 acc[kRows];
    for (int r = 0; r < kRows; ++r) acc[r] = _mm256_setzero_ps();
    const std::byte* panel = t.panel + half / 2 * t.shape.bytes;
    const std::byte* codes = panel + t.shape.blocks + 32 * (half % 2);
    const std::byte* block = t.group;
    for (uint32_t b = 0; b < t.columns / 32; ++b) {
      if (half % 2 == 0) {
        for (size_t line = 0; line < kBlockBytes; line += 64) {
          _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes + line), _MM_HINT_T0);
        }
      }
      const std::byte* scales = codes - 16 * (half % 2) + 64 * kBits;
#pragma GCC unroll 2
      for (int first = 0; first < 32; first += kGroup, scales += kGroupBytes) {
        add_group(codes, scales, block, first, acc);
      }
      codes += kBlockBytes;
      block += ActivationBlock::kRowBytes * kRows;
    }
    const __m256 unit = _mm256_loadu_ps(reinterpret_cast<const float*>(panel) + 8 * (half % 2));
    const std::byte* steps = t.group + steps_offset(t.columns, kRows);
    for (int r = 0; r < kRows; ++r) {
      acc[r] = _mm256_mul_ps(_mm256_mul_ps(acc[r], unit), broadcast_f32(steps + 4 * r));
    }
    store_rows<kRows>(t, half, acc);
  }

 private:
  static constexpr size_t kGroupBytes = kMinimum ? 64 : 32;
  static constexpr size_t kBlockBytes = 64 * kBits + 32 / kGroup * kGroupBytes;

  // -128 times the sum of a row's q over the group.
  static inline __m256i negative_sum(const std::byte* block, int row, int first) {
    const __m256i all = broadcast_i32(block + ActivationBlock::bias(kRows) + 4 * row);
    if (kGroup == 32) return all;
    const __m256i low = broadcast_i32(block + ActivationBlock::low_bias(kRows) + 4 * row);
    return first == 0 ? low : _mm256_sub_epi32(all, low);
  }

  // activation scale * sum of q over the group.
  static inline __m256 scale_sum(const std::byte* block, int row, int first) {
    if (kGroup == 32) return broadcast_f32(block + ActivationBlock::scale_sum(kRows) + 4 * row);
    const __m256i minus_sum = _mm256_srai_epi32(negative_sum(block, row, first), 7);
    const __m256i sum = _mm256_sub_epi32(_mm256_setzero_si256(), minus_sum);
    return _mm256_mul_ps(broadcast_f32(block + ActivationBlock::scale(kRows) + 4 * row), _mm256_cvtepi32_ps(sum));
  }

  // 256 times the products of the columns that have a high part.
  static inline void add_high(const std::byte* codes, const std::byte* block, uint32_t wide, __m256i* idot) {
    for (; wide != 0; wide &= wide - 1) {
      const int column = __builtin_ctz(wide);
      const __m256i code = load_bytes(codes + 64 * (kBits == 8 ? column : column & 3));
      const __m256i low = kBits == 4 && column >= 4 ? high_half(code) : low_half(code), high = high_half(code);
      for (int r = 0; r < kRows; ++r) {
        const __m256i q = broadcast_i32(block + ActivationBlock::high(kRows) + 32 * r + 4 * column);
        idot[r] = add_sums(idot[r], _mm256_maddubs_epi16(low, q), 1);
        if (kBits == 8) idot[r] = add_sums(idot[r], _mm256_maddubs_epi16(high, q), 16);
      }
    }
    for (int r = 0; r < kRows; ++r) idot[r] = _mm256_slli_epi32(idot[r], 8);
  }

  static inline void add_group(const std::byte* codes, const std::byte* scales, const std::byte* block, int first,
                               __m256* acc) {
    uint32_t wide = 0;
    for (int r = 0; r < kRows; ++r) wide |= load_u32(block + ActivationBlock::flags(kRows) + 4 * r);
    wide &= kGroup == 32 ? ActivationBlock::kWide : first == 0 ? 0x0fu : 0xf0u;
    __m256i idot[kRows];
    for (int r = 0; r < kRows; ++r) idot[r] = _mm256_setzero_si256();
    if (wide != 0) add_high(codes, block, wide, idot);
    if (!kMinimum) {
      for (int r = 0; r < kRows; ++r) {
        const __m256i bias = negative_sum(block, r, first);
        idot[r] = _mm256_add_epi32(idot[r], kBits == 8 ? bias : _mm256_srai_epi32(bias, 4));
      }
    }
    if constexpr (kBits == 4) {
      dot_4bit<kRows>(codes, block, idot);
    } else {
      dot_8bit<kGroup, kMinimum, kRows>(codes, block, first, idot);
    }
    const __m256 weight_scale = load_halves(scales);
    for (int r = 0; r < kRows; ++r) {
      const __m256 scale = _mm256_mul_ps(weight_scale, broadcast_f32(block + ActivationBlock::scale(kRows) + 4 * r));
      acc[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(idot[r]), scale, acc[r]);
      if (kMinimum) acc[r] = _mm256_fmadd_ps(scale_sum(block, r, first), load_halves(scales + 32), acc[r]);
    }
  }
};

template <int kBits, int kGroup, bool kMinimum, int kRows>
void multiply_rows(const TileProduct& t) {
  for (int half = 0; half < 2 * static_cast<int>(t.panels); ++half) {
    IntegerHalf<kBits, kGroup, kMinimum, kRows>::multiply(t, half);
  }
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
void multiply_float_rows(const TileProduct& t) {
  for (int p = 0; p < static_cast<int>(t.panels); ++p) {
    const std::byte* panel = t.panel + p * t.shape.bytes;
    __m256 low[kRows], high[kRows];
    for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_ps();
    for (size_t k = 0; k < t.columns; ++k) {
      const __m256 w_low = load_column<kLayout>(panel, k, 0), w_high = load_column<kLayout>(panel, k, 1);
      for (int r = 0; r < kRows; ++r) {
        const __m256 x = broadcast_f32(t.group + 4 * (k * kRows + r));
        low[r] = _mm256_fmadd_ps(w_low, x, low[r]);
        high[r] = _mm256_fmadd_ps(w_high, x, high[r]);
      }
    }
    store_rows<kRows>(t, 2 * p, low);
    store_rows<kRows>(t, 2 * p + 1, high);
  }
}

template <int kBits, int kGroup, bool kMinimum>
void multiply_integer(const TileProduct& t) {
  switch (t.rows) {
    case 1:
      return multiply_rows<kBits, kGroup, kMinimum, 1>(t);
    case 2:
      return multiply_rows<kBits, kGroup, kMinimum, 2>(t);
    default:
      return multiply_rows<kBits, kGroup, kMinimum, 4>(t);
  }
}

template <WeightLayout kLayout>
void multiply_float(const TileProduct& t) {
  switch (t.rows) {
    case 1:
      return multiply_float_rows<kLayout, 1>(t);
    case 2:
      return multiply_float_rows<kLayout, 2>(t);
    default:
      return multiply_float_rows<kLayout, 4>(t);
  }
}

}  // namespace

MultiplyTile multiply_tile_avx2(WeightLayout layout) {
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
      return multiply_float<WeightLayout::kBF16>;
    default:
      return multiply_exact_avx2(layout);
  }
}

}  // namespace loci::detail
