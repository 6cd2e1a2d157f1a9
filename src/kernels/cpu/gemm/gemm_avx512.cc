// AVX-512 VNNI. A vector is 16 outputs; the group's rows give up to 12 independent chains, which hides the latency of
// vpdpbusd (4 cycles), and codes are unpacked once for all of them. Of the 11 or 12 multiplier operations a row needs
// per block, 8 are dot products: 67 to 73% of the machine's peak is the bound with a scale per 32 columns.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

// Ahead of the weights being read, where few rows make memory the bound: 200 ns of a core's bandwidth.
constexpr size_t kPrefetchBytes = 6144;

inline __m512i broadcast_i32(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof value);
  return _mm512_set1_epi32(value);
}

inline __m512 broadcast_f32(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof value);
  return _mm512_set1_ps(value);
}

inline __m512 load_halves(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

template <int kRows>
inline void store_rows(const PanelProduct& p, const __m512* acc) {
  const auto exist = static_cast<__mmask16>((1u << p.outputs) - 1);
  for (int r = 0; r < kRows; ++r) _mm512_mask_storeu_ps(p.out + r * p.out_stride, exist, acc[r]);
}

// One vector of codes (columns 4 column .. 4 column + 3) against the group's rows.
template <int kRows>
inline void accumulate(__m512i codes, const std::byte* block, int column, __m512i* idot) {
  for (int r = 0; r < kRows; ++r) {
    idot[r] = _mm512_dpbusd_epi32(idot[r], codes, broadcast_i32(block + 32 * r + 4 * column));
  }
}

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
  const __m512i sum = _mm512_srai_epi32(negative_bias<8, kGroup>(block, rows, row, first), 7);  // minus the sum
  const __m512 scale = broadcast_f32(block + ActivationBlock::scale(rows) + 4 * row);
  return _mm512_mul_ps(scale, _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_setzero_si512(), sum)));
}

template <int kBits, int kGroup, bool kMinimum, int kRows>
inline void multiply_group(const std::byte* codes, const std::byte* scales, const std::byte* block, int first,
                           __m512* acc) {
  __m512i idot[kRows];
  for (int r = 0; r < kRows; ++r) {
    idot[r] = kMinimum ? _mm512_setzero_si512() : negative_bias<kBits, kGroup>(block, kRows, r, first);
  }
  if constexpr (kBits == 8) {
#pragma GCC unroll 8
    for (int j = 0; j < kGroup / 4; ++j) {
      accumulate<kRows>(_mm512_loadu_si512(codes + 16 * first + 64 * j), block, first / 4 + j, idot);
    }
  } else {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512i pair = _mm512_loadu_si512(codes + 64 * j);
      accumulate<kRows>(_mm512_and_si512(pair, low), block, j, idot);
      accumulate<kRows>(_mm512_and_si512(_mm512_srli_epi16(pair, 4), low), block, j + 4, idot);
    }
  }
  const __m512 weight_scale = load_halves(scales);
  for (int r = 0; r < kRows; ++r) {
    const __m512 scale = _mm512_mul_ps(weight_scale, broadcast_f32(block + ActivationBlock::scale(kRows) + 4 * r));
    acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(idot[r]), scale, acc[r]);
  }
  if constexpr (kMinimum) {
    const __m512 minimum = load_halves(scales + 32);
    for (int r = 0; r < kRows; ++r) {
      acc[r] = _mm512_fmadd_ps(scale_sum<kGroup>(block, kRows, r, first), minimum, acc[r]);
    }
  }
}

template <int kBits, int kGroup, bool kMinimum, int kRows>
void multiply_rows(const PanelProduct& p) {
  __m512 acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = _mm512_setzero_ps();
  constexpr size_t kGroupBytes = kMinimum ? 64 : 32;
  constexpr size_t kBlockBytes = 64 * kBits + 32 / kGroup * kGroupBytes;
  const std::byte* codes = p.panel + p.shape.blocks;
  const std::byte* block = p.group;
  for (uint32_t b = 0; b < p.columns / 32; ++b) {
    if constexpr (kRows <= 4) {
      for (size_t line = 0; line < kBlockBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes + line), _MM_HINT_T0);
      }
    }
    const std::byte* scales = codes + 64 * kBits;
#pragma GCC unroll 2
    for (int first = 0; first < 32; first += kGroup, scales += kGroupBytes) {
      multiply_group<kBits, kGroup, kMinimum, kRows>(codes, scales, block, first, acc);
    }
    codes += kBlockBytes;
    block += ActivationBlock::kRowBytes * kRows;
  }
  const __m512 unit = _mm512_loadu_ps(p.panel);
  for (int r = 0; r < kRows; ++r) acc[r] = _mm512_mul_ps(acc[r], unit);
  store_rows<kRows>(p, acc);
}

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

template <WeightLayout kLayout, int kRows>
void multiply_float_rows(const PanelProduct& p) {
  __m512 acc[kRows];
  for (int r = 0; r < kRows; ++r) acc[r] = _mm512_setzero_ps();
  constexpr size_t kColumnBytes = kLayout == WeightLayout::kF32 ? 64 : 32;
  for (size_t k = 0; k < p.columns; ++k) {
    if (kRows <= 4 && k * kColumnBytes % 64 == 0) {
      _mm_prefetch(reinterpret_cast<const char*>(p.panel + k * kColumnBytes + kPrefetchBytes), _MM_HINT_T0);
    }
    const __m512 w = load_column<kLayout>(p.panel, k);
    for (int r = 0; r < kRows; ++r) acc[r] = _mm512_fmadd_ps(w, broadcast_f32(p.group + 4 * (k * kRows + r)), acc[r]);
  }
  store_rows<kRows>(p, acc);
}

template <int kBits, int kGroup, bool kMinimum>
void multiply_integer(const PanelProduct& p) {
  switch (p.rows) {
    case 1:
      return multiply_rows<kBits, kGroup, kMinimum, 1>(p);
    case 2:
      return multiply_rows<kBits, kGroup, kMinimum, 2>(p);
    case 4:
      return multiply_rows<kBits, kGroup, kMinimum, 4>(p);
    case 8:
      return multiply_rows<kBits, kGroup, kMinimum, 8>(p);
    default:
      return multiply_rows<kBits, kGroup, kMinimum, 12>(p);
  }
}

template <WeightLayout kLayout>
void multiply_float(const PanelProduct& p) {
  switch (p.rows) {
    case 1:
      return multiply_float_rows<kLayout, 1>(p);
    case 2:
      return multiply_float_rows<kLayout, 2>(p);
    case 4:
      return multiply_float_rows<kLayout, 4>(p);
    case 8:
      return multiply_float_rows<kLayout, 8>(p);
    default:
      return multiply_float_rows<kLayout, 12>(p);
  }
}

}  // namespace

MultiplyPanel multiply_panel_avx512(WeightLayout layout) {
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
