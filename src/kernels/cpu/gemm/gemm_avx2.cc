// AVX2. A vector is 8 outputs, half a panel; a group has up to 4 rows. vpmaddubsw multiplies unsigned codes by signed
// activations and adds neighbours to 16 bits with saturation, which these ranges never reach. Codes are multiplied as
// halves of 4 bits, whose 8 pairs of a block stay within 8 * 2 * 15 * 128 = 30720 < 32768, so a whole block is added up
// in 16 bits. 8-bit codes with a minimum are at most 31: 4 pairs stay within 4 * 2 * 31 * 128 = 31744.
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

inline uint32_t load_u32(const std::byte* from) {
  uint32_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline __m256i load_bytes(const std::byte* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

inline __m256 load_halves(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline __m256i low_half(__m256i codes) { return _mm256_and_si256(codes, _mm256_set1_epi8(15)); }
inline __m256i high_half(__m256i codes) { return low_half(_mm256_srli_epi16(codes, 4)); }

// Eight outputs (half 0 or 1 of the panel, 0 to 3 of the tile) of each row.
template <int kRows>
inline void store_rows(const TileProduct& t, int half, const __m256* acc) {
  const int exist = static_cast<int>(t.outputs) - 8 * half;
  if (exist <= 0) return;
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(exist), lanes);
  for (int r = 0; r < kRows; ++r) _mm256_maskstore_ps(t.out + r * t.out_stride + 8 * half, mask, acc[r]);
}

// sums += eight pairs' products, in 16 bits.
inline __m256i add_pairs(__m256i sums, __m256i codes, const std::byte* q) {
  return _mm256_add_epi16(sums, _mm256_maddubs_epi16(codes, broadcast_i32(q)));
}

// idot += sums * factor, neighbours added.
inline __m256i add_sums(__m256i idot, __m256i sums, int factor) {
  return _mm256_add_epi32(idot, _mm256_madd_epi16(sums, _mm256_set1_epi16(static_cast<int16_t>(factor))));
}

// idot += the products of a whole block of 4-bit codes and the rows' `q`.
template <int kRows>
inline void dot_4bit(const std::byte* codes, const std::byte* q, __m256i* idot) {
  __m256i sums[kRows];
  for (int r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i pair = load_bytes(codes + 64 * j), even = low_half(pair), odd = high_half(pair);
    for (int r = 0; r < kRows; ++r) {
      sums[r] = add_pairs(add_pairs(sums[r], even, q + 32 * r + 4 * j), odd, q + 32 * r + 4 * j + 16);
    }
  }
  for (int r = 0; r < kRows; ++r) idot[r] = add_sums(idot[r], sums[r], 1);
}

// The same for a group of 8-bit codes that starts at column `first`; at most 31 if they are small.
template <int kGroup, bool kSmall, int kRows>
inline void dot_8bit(const std::byte* codes, const std::byte* q, int first, __m256i* idot) {
  constexpr int kRun = kSmall ? 4 : kGroup / 4;  // vectors of codes that are added up in 16 bits
  for (int start = first / 4; start < (first + kGroup) / 4; start += kRun) {
    __m256i low[kRows], high[kRows];
    for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = start; j < start + kRun; ++j) {
      const __m256i code = load_bytes(codes + 64 * j);
      for (int r = 0; r < kRows; ++r) {
        low[r] = add_pairs(low[r], kSmall ? code : low_half(code), q + 32 * r + 4 * j);
        if (!kSmall) high[r] = add_pairs(high[r], high_half(code), q + 32 * r + 4 * j);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      idot[r] = add_sums(idot[r], low[r], 1);
      if (!kSmall) idot[r] = add_sums(idot[r], high[r], 16);
    }
  }
}

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
      break;
  }
  return multiply_float<WeightLayout::kBF16>;
}

}  // namespace loci::detail
