// AVX-512 VNNI. A vector is 16 outputs; a tile of 3 rows and 4 panels is 12 independent chains, which hides the latency
// of vpdpbusd (4 cycles), loads a row's four codes once for four dot products and unpacks a weight once for three. Of
// the 10 or 11 multiplier operations that a row needs per panel and block, 8 are dot products; each four columns that
// are wide in one of the tile's rows add another. Fewer rows to a tile mean fewer such columns, more panels that the
// loads of activations stay few. Float tiles have 6 rows and 2 panels, since converting a weight costs more than
// unpacking.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/gemm/dot_avx512.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

using namespace simd_avx512;

// What the codes' bias of 8 or 128 adds too much, subtracted beforehand.
template <int kBits, int kGroup>
inline __m512i negative_bias(const std::byte* block, int rows, int row, int first) {
  __m512i bias;
  if (kGroup == 32) {
    bias = broadcast_i32(block + ActivationBlock::bias(rows) + 4 * row);
  } else {
    bias = broadcast_i32(block + ActivationBlock::low_bias(rows) + 4 * row);
    if (first != 0) bias = _mm512_sub_epi32(broadcast_i32(block + ActivationBlock::bias(rows) + 4 * row), bias);
  }
  return kBits == 8 ? bias : _mm512_srai_epi32(bias, 4);
}

// activation scale * sum of q over the group.
template <int kGroup>
inline __m512 scale_sum(const std::byte* block, int rows, int row, int first) {
  if (kGroup == 32) return broadcast_f32(block + ActivationBlock::scale_sum(rows) + 4 * row);
  const __m512i bias = negative_bias<8, kGroup>(block, rows, row, first);
  const __m512i sum = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_srai_epi32(bias, 7));
  return _mm512_mul_ps(broadcast_f32(block + ActivationBlock::scale(rows) + 4 * row), _mm512_cvtepi32_ps(sum));
}

template <int kBits, int kGroup, bool kMinimum, int kRows, int kPanels>
class IntegerTile {
 public:
  static void multiply(const TileProduct& t) {
    __m512 acc[kRows][kPanels];
    for (int r = 0; r < kRows; ++r) {
      for (int p = 0; p < kPanels; ++p) acc[r][p] = _mm512_setzero_ps();
    }
    const size_t stride = t.shape.bytes;
    const std::byte* codes = t.panel + t.shape.blocks;
    const std::byte* block = t.group;
    const std::byte* ahead = t.ahead;
    for (uint32_t b = 0; b < t.columns / 32; ++b) {
      if constexpr (kRows > 1) {
        for (uint32_t line = 0; line < t.ahead_lines; ++line, ahead += 64) {
          _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
        }
      }
      if constexpr (kRows == 1) {
        for (int p = 0; p < kPanels; ++p) {
          for (size_t line = 0; line < kBlockBytes; line += 64) prefetch(codes + p * stride + kPrefetchBytes + line);
        }
      }
#pragma GCC unroll 2
      for (int first = 0; first < 32; first += kGroup) add_group(codes, stride, block, first, acc);
      codes += kBlockBytes;
      block += ActivationBlock::kRowBytes * kRows;
    }
    __m512 step[kRows];
    for (int r = 0; r < kRows; ++r) step[r] = broadcast_f32(t.group + steps_offset(t.columns, kRows) + 4 * r);
    for (int p = 0; p < kPanels; ++p) {
      const __m512 unit = _mm512_loadu_ps(t.panel + p * stride);
      const int exist = static_cast<int>(t.outputs) - 16 * p;
      const auto mask = static_cast<__mmask16>(exist >= 16 ? 0xffff : (1u << exist) - 1);
      for (int r = 0; r < kRows; ++r) {
        _mm512_mask_storeu_ps(t.out + r * t.out_stride + 16 * p, mask,
                              _mm512_mul_ps(_mm512_mul_ps(acc[r][p], unit), step[r]));
      }
    }
  }

 private:
  static constexpr size_t kGroupBytes = kMinimum ? 64 : 32;
  static constexpr size_t kBlockBytes = 64 * kBits + 32 / kGroup * kGroupBytes;

  // 256 times the products of the columns in which this row has a high part.
  static inline void add_high(const std::byte* codes, size_t stride, const std::byte* high, uint32_t wide,
                              __m512i (&idot)[kPanels]) {
    for (; wide != 0; wide &= wide - 1) {
      const int column = __builtin_ctz(wide);
      const __m512i four = broadcast_i32(high + 4 * column);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        if constexpr (kBits == 8) {
          idot[p] = add_products(idot[p], _mm512_loadu_si512(codes + p * stride + 64 * column), four);
        } else {
          const __m512i pair = _mm512_loadu_si512(codes + p * stride + 64 * (column & 3));
          const __m512i shifted = _mm512_srl_epi16(pair, _mm_cvtsi32_si128(column & 4));
          idot[p] = add_products(idot[p], _mm512_and_si512(shifted, _mm512_set1_epi8(15)), four);
        }
      }
    }
    for (int p = 0; p < kPanels; ++p) idot[p] = _mm512_slli_epi32(idot[p], 8);
  }

  static inline void add_group(const std::byte* codes, size_t stride, const std::byte* block, int first,
                               __m512 (&acc)[kRows][kPanels]) {
    __m512i idot[kRows][kPanels];
    uint32_t scaled = 0;
#pragma GCC unroll 3
    for (int r = 0; r < kRows; ++r) {
      for (int p = 0; p < kPanels; ++p) idot[r][p] = _mm512_setzero_si512();
      const uint32_t flags = load_u32(block + ActivationBlock::flags(kRows) + 4 * r);
      const uint32_t wide = flags & (kGroup == 32 ? ActivationBlock::kWide : first == 0 ? 0x0fu : 0xf0u);
      if (kRows > 1 && wide != 0) add_high(codes, stride, block + ActivationBlock::high(kRows) + 32 * r, wide, idot[r]);
      scaled |= flags;
    }
    if constexpr (kRows == 1) {
      // Memory is the bound: all high parts cost less than branches on which of them are zero.
      add_dots<kBits, kGroup>(codes, stride, block + ActivationBlock::high(1), first, idot);
      for (int p = 0; p < kPanels; ++p) idot[0][p] = _mm512_slli_epi32(idot[0][p], 8);
    }
    if constexpr (!kMinimum) {
      for (int r = 0; r < kRows; ++r) {
        const __m512i bias = negative_bias<kBits, kGroup>(block, kRows, r, first);
        for (int p = 0; p < kPanels; ++p) idot[r][p] = _mm512_add_epi32(idot[r][p], bias);
      }
    }
    add_dots<kBits, kGroup>(codes, stride, block, first, idot);
    const std::byte* scales = codes + 64 * kBits + first / kGroup * kGroupBytes;
    __m512 sum[kRows];
    for (int r = 0; r < kRows; ++r) {
      if (kMinimum) sum[r] = scale_sum<kGroup>(block, kRows, r, first);
    }
    if ((scaled & ActivationBlock::kScaled) != 0) [[unlikely]] {
      for (int p = 0; p < kPanels; ++p) {
        const __m512 weight_scale = load_halves(scales + p * stride);
        for (int r = 0; r < kRows; ++r) {
          const __m512 scale = broadcast_f32(block + ActivationBlock::scale(kRows) + 4 * r);
          acc[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(idot[r][p]), _mm512_mul_ps(scale, weight_scale), acc[r][p]);
        }
      }
    } else {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        const __m512 weight_scale = load_halves(scales + p * stride);
        for (int r = 0; r < kRows; ++r) {
          acc[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(idot[r][p]), weight_scale, acc[r][p]);
        }
      }
    }
    if constexpr (kMinimum) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        const __m512 minimum = load_halves(scales + p * stride + 32);
        for (int r = 0; r < kRows; ++r) acc[r][p] = _mm512_fmadd_ps(sum[r], minimum, acc[r][p]);
      }
    }
  }
};

template <WeightLayout kLayout>
inline __m512 load_column(const std::byte* panel, size_t k) {
  if constexpr (kLayout == WeightLayout::kF32) {
    return _mm512_loadu_ps(panel + 64 * k);
  } else if constexpr (kLayout == WeightLayout::kF16) {
    return load_halves(panel + 32 * k);
  } else {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 32 * k));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
}

template <WeightLayout kLayout, int kRows, int kPanels>
void multiply_float_tile(const TileProduct& t) {
  __m512 acc[kRows][kPanels];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) acc[r][p] = _mm512_setzero_ps();
  }
  constexpr size_t kColumnBytes = kLayout == WeightLayout::kF32 ? 64 : 32;
  const size_t stride = t.shape.bytes;
  for (size_t k = 0; k < t.columns; ++k) {
    __m512 w[kPanels];
    for (int p = 0; p < kPanels; ++p) {
      const std::byte* panel = t.panel + p * stride;
      if (kRows == 1 && k * kColumnBytes % 64 == 0) prefetch(panel + k * kColumnBytes + kPrefetchBytes);
      w[p] = load_column<kLayout>(panel, k);
    }
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = broadcast_f32(t.group + 4 * (k * kRows + r));
      for (int p = 0; p < kPanels; ++p) acc[r][p] = _mm512_fmadd_ps(w[p], x, acc[r][p]);
    }
  }
  for (int p = 0; p < kPanels; ++p) {
    const int exist = static_cast<int>(t.outputs) - 16 * p;
    const auto mask = static_cast<__mmask16>(exist >= 16 ? 0xffff : (1u << exist) - 1);
    for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(t.out + r * t.out_stride + 16 * p, mask, acc[r][p]);
  }
}

template <int kBits, int kGroup, bool kMinimum, int kRows>
void multiply_rows(const TileProduct& t) {
  switch (t.panels) {
    case 1:
      return IntegerTile<kBits, kGroup, kMinimum, kRows, 1>::multiply(t);
    case 2:
      return IntegerTile<kBits, kGroup, kMinimum, kRows, 2>::multiply(t);
    default:
      return IntegerTile<kBits, kGroup, kMinimum, kRows, 4>::multiply(t);
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
      return multiply_rows<kBits, kGroup, kMinimum, 3>(t);
  }
}

template <WeightLayout kLayout, int kRows>
void multiply_float_rows(const TileProduct& t) {
  t.panels == 2 ? multiply_float_tile<kLayout, kRows, 2>(t) : multiply_float_tile<kLayout, kRows, 1>(t);
}

template <WeightLayout kLayout>
void multiply_float(const TileProduct& t) {
  switch (t.rows) {
    case 1:
      return multiply_float_rows<kLayout, 1>(t);
    case 2:
      return multiply_float_rows<kLayout, 2>(t);
    case 4:
      return multiply_float_rows<kLayout, 4>(t);
    default:
      return multiply_float_rows<kLayout, 6>(t);
  }
}

}  // namespace

MultiplyTile multiply_tile_avx512(WeightLayout layout) {
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
      return multiply_exact_avx512(layout);
  }
}

}  // namespace loci::detail
