// AVX2. A vector is 8 outputs, a tile one panel and up to 4 rows: 8 vectors of sums and as many of results, of which
// the results wait in the first cache level while a block is multiplied.
#include <immintrin.h>

#include <cstring>
#include <type_traits>

#include "kernels/cpu/gemm/dot_avx2.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

using namespace gemm_avx2;

template <int kBits, int kGroup, bool kMinimum, int kRows>
class IntegerPanel {
 public:
  // Sixteen outputs of each row: panel 0 to 3 of the tile.
  static void multiply(const TileProduct& t, int index) {
    __m256 acc[kRows][2];
    for (auto& row : acc) row[0] = row[1] = _mm256_setzero_ps();
    const std::byte* panel = t.panel + index * t.shape.bytes;
    const std::byte* codes = panel + t.shape.blocks;
    const std::byte* block = t.group;
    Fetch<kRows, kBlockBytes> fetch(t, index);
    for (uint32_t b = 0; b < t.columns / 32; ++b) {
      fetch.next(codes);
      const Columns columns(block, block + ActivationBlock::high(kRows));
#pragma GCC unroll 2
      for (int first = 0; first < 32; first += kGroup) add_group(codes, block, columns, first, acc);
      codes += kBlockBytes;
      block += ActivationBlock::kRowBytes * kRows;
    }
    const std::byte* steps = t.group + steps_offset(t.columns, kRows);
    for (int h = 0; h < 2; ++h) {
      const __m256 unit = _mm256_loadu_ps(reinterpret_cast<const float*>(panel) + 8 * h);
      for (int r = 0; r < kRows; ++r) {
        acc[r][h] = _mm256_mul_ps(_mm256_mul_ps(acc[r][h], unit), broadcast_f32(steps + 4 * r));
      }
    }
    store_rows<kRows>(t, index, acc);
  }

 private:
  // Codes of more than five bits leave no room in 16: they meet columns in 16 bits, the others the columns' two parts.
  static constexpr bool kWords = kBits == 8 && !kMinimum;
  using Columns = std::conditional_t<kWords, WordColumns<kRows>, ByteColumns>;

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

  // 256 times the products of the columns that have a high part in one of the rows.
  static inline void add_high(const std::byte* codes, const std::byte* high, uint32_t wide, __m256i (&idot)[kRows][2]) {
    if constexpr (kBits == 4) {
      dot_wide<4>(codes, high, wide, 256, idot);
    } else {
      dot_wide<8>(codes, high, wide & 0x0f, 256, idot);
      dot_wide<8>(codes, high, wide & 0xf0, 256, idot);
    }
  }

  static inline void add_group(const std::byte* codes, const std::byte* block, const Columns& columns, int first,
                               __m256 (&acc)[kRows][2]) {
    uint32_t flags = 0;
    for (int r = 0; r < kRows; ++r) flags |= load_u32(block + ActivationBlock::flags(kRows) + 4 * r);
    __m256i idot[kRows][2];
    for (int r = 0; r < kRows; ++r) {
      __m256i bias = _mm256_setzero_si256();
      if (!kMinimum)
        bias = kBits == 8 ? negative_sum(block, r, first) : _mm256_srai_epi32(negative_sum(block, r, first), 4);
      idot[r][0] = idot[r][1] = bias;
    }
    if constexpr (kWords) {
      dot_words<kGroup>(codes, columns, first, idot);
    } else {
      const uint32_t wide = flags & (kGroup == 32 ? ActivationBlock::kWide : first == 0 ? 0x0fu : 0xf0u);
      if (wide != 0) add_high(codes, columns.high, wide, idot);
      if constexpr (kBits == 4) {
        dot_4bit<kRows>(codes, columns.low, idot);
      } else {
        dot_8bit<kGroup, true, kRows>(codes, columns.low, first, idot);
      }
    }
    const std::byte* scales = codes + 64 * kBits + first / kGroup * kGroupBytes;
    add_scaled(scales, (flags & ActivationBlock::kScaled) != 0 ? block + ActivationBlock::scale(kRows) : nullptr, idot,
               acc);
    if constexpr (kMinimum) {
      const __m256 low = load_halves(scales + 32), high = load_halves(scales + 48);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m256 sum = scale_sum(block, r, first);
        acc[r][0] = _mm256_fmadd_ps(sum, low, acc[r][0]);
        acc[r][1] = _mm256_fmadd_ps(sum, high, acc[r][1]);
      }
    }
  }

  // `row_scales`: null where all are 1.
  static inline void add_scaled(const std::byte* scales, const std::byte* row_scales, const __m256i (&idot)[kRows][2],
                                __m256 (&acc)[kRows][2]) {
    const __m256 weight[2] = {load_halves(scales), load_halves(scales + 16)};
    if (row_scales != nullptr) [[unlikely]] {
      for (int r = 0; r < kRows; ++r) {
        const __m256 scale = broadcast_f32(row_scales + 4 * r);
        for (int h = 0; h < 2; ++h) {
          acc[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(idot[r][h]), _mm256_mul_ps(weight[h], scale), acc[r][h]);
        }
      }
      return;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      for (int h = 0; h < 2; ++h) acc[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(idot[r][h]), weight[h], acc[r][h]);
    }
  }
};

template <int kBits, int kGroup, bool kMinimum, int kRows>
void multiply_rows(const TileProduct& t) {
  for (int panel = 0; panel < static_cast<int>(t.panels); ++panel) {
    IntegerPanel<kBits, kGroup, kMinimum, kRows>::multiply(t, panel);
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
    __m256 acc[kRows][2];
    for (auto& row : acc) row[0] = row[1] = _mm256_setzero_ps();
    for (size_t k = 0; k < t.columns; ++k) {
      const __m256 w_low = load_column<kLayout>(panel, k, 0), w_high = load_column<kLayout>(panel, k, 1);
      for (int r = 0; r < kRows; ++r) {
        const __m256 x = broadcast_f32(t.group + 4 * (k * kRows + r));
        acc[r][0] = _mm256_fmadd_ps(w_low, x, acc[r][0]);
        acc[r][1] = _mm256_fmadd_ps(w_high, x, acc[r][1]);
      }
    }
    store_rows<kRows>(t, p, acc);
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
