// Exact layouts with AVX-512 VNNI. Tiles are those of gemm_avx512.cc, but nothing is converted between a panel's first
// column and its last: of the multiplier operations all are dot products where a row has one scale, and 32 of 34 in
// groups of 128. Many rows read panels from the second cache level, 4 bits a weight: in bytes they would wait for it.
// One row is bound by reads of memory: 4 bits a weight, 4.125 in groups of 128.
#include "kernels/cpu/gemm/dot_avx512.h"
#include "kernels/cpu/gemm/exact_layout.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

using namespace simd_avx512;

inline int32_t load_i32(const std::byte* from) { return static_cast<int32_t>(load_u32(from)); }

template <int kBits, int kGroup, int kRows, int kPanels>
class ExactTile {
 public:
  static void multiply(const TileProduct& t) {
    __m512i acc[kRows][kPanels];
    for (int r = 0; r < kRows; ++r) {
      for (int p = 0; p < kPanels; ++p) acc[r][p] = _mm512_setzero_si512();
    }
    Stream s{t.panel + t.shape.blocks, t.group, t.ahead, t.shape.bytes, t.ahead_lines};
    if constexpr (kGroup == 0) {
      int32_t sum[kRows] = {};
      for (uint32_t b = 0; b < t.columns / 32; ++b) add_block(s, acc, sum);
      for (int p = 0; p < kPanels; ++p) {
        const __m512i offset = _mm512_loadu_si512(t.panel + p * t.shape.bytes + kExactHeader);
        for (int r = 0; r < kRows; ++r) add_times(acc[r][p], offset, _mm512_set1_epi32(sum[r]));
      }
    } else {
      const std::byte* group = t.panel + kExactHeader;
      for (uint32_t g = 0; g < t.columns / kGroup; ++g, group += 32) add_group(s, group, acc);
    }
    store(t, acc);
  }

 private:
  // Where the next block lies.
  struct Stream {
    const std::byte* codes;
    const std::byte* block;
    const std::byte* ahead;
    size_t stride;
    uint32_t ahead_lines;
  };
  static constexpr size_t kBlockBytes = 64 * kBits;

  [[gnu::always_inline]] static inline void add_times(__m512i& acc, __m512i a, __m512i b) {
    acc = _mm512_add_epi32(acc, _mm512_mullo_epi32(a, b));
  }

  // idot += codes . q, sum += q, over the next block.
  [[gnu::always_inline]] static inline void add_block(Stream& s, __m512i (&idot)[kRows][kPanels],
                                                      int32_t (&sum)[kRows]) {
    if constexpr (kRows > 1) {
      for (uint32_t line = 0; line < s.ahead_lines; ++line, s.ahead += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(s.ahead), _MM_HINT_T1);
      }
    } else {
      for (int p = 0; p < kPanels; ++p) {
        for (size_t line = 0; line < kBlockBytes; line += 64) prefetch(s.codes + p * s.stride + kPrefetchBytes + line);
      }
    }
    if constexpr (kRows * kPanels >= 4) {
      add_dots<kBits, 32>(s.codes, s.stride, s.block, 0, idot);
    } else {  // a chain of its own, which the next block need not wait for
      __m512i own[kRows][kPanels];
      for (int r = 0; r < kRows; ++r) {
        for (int p = 0; p < kPanels; ++p) own[r][p] = _mm512_setzero_si512();
      }
      add_dots<kBits, 32>(s.codes, s.stride, s.block, 0, own);
      for (int r = 0; r < kRows; ++r) {
        for (int p = 0; p < kPanels; ++p) idot[r][p] = _mm512_add_epi32(idot[r][p], own[r][p]);
      }
    }
    for (int r = 0; r < kRows; ++r) sum[r] += load_i32(s.block + ActivationBlock::bias(kRows) + 4 * r) / -128;
    s.codes += kBlockBytes;
    s.block += ActivationBlock::kRowBytes * kRows;
  }

  [[gnu::always_inline]] static inline void add_group(Stream& s, const std::byte* group,
                                                      __m512i (&acc)[kRows][kPanels]) {
    __m512i idot[kRows][kPanels];
    for (int r = 0; r < kRows; ++r) {
      for (int p = 0; p < kPanels; ++p) idot[r][p] = _mm512_setzero_si512();
    }
    int32_t sum[kRows] = {};
#pragma GCC unroll 4
    for (int b = 0; b < kGroup / 32; ++b) add_block(s, idot, sum);
    for (int p = 0; p < kPanels; ++p) {
      const auto* steps = reinterpret_cast<const __m128i*>(group + p * s.stride);
      const __m512i step = _mm512_cvtepu8_epi32(_mm_loadu_si128(steps));
      const __m512i zero = _mm512_cvtepi8_epi32(_mm_loadu_si128(steps + 1));
      for (int r = 0; r < kRows; ++r) {
        add_times(acc[r][p], idot[r][p], step);
        add_times(acc[r][p], zero, _mm512_set1_epi32(sum[r]));
      }
    }
  }

  static inline void store(const TileProduct& t, const __m512i (&acc)[kRows][kPanels]) {
    for (int p = 0; p < kPanels; ++p) {
      const __m512 unit = _mm512_loadu_ps(t.panel + p * t.shape.bytes);
      const int exist = static_cast<int>(t.outputs) - 16 * p;
      const auto mask = static_cast<__mmask16>(exist >= 16 ? 0xffff : (1u << exist) - 1);
      for (int r = 0; r < kRows; ++r) {
        const __m512 step = broadcast_f32(t.group + steps_offset(t.columns, kRows) + 4 * r);
        const __m512 scaled = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r][p]), unit), step);
        _mm512_mask_storeu_ps(t.out + r * t.out_stride + 16 * p, mask, scaled);
      }
    }
  }
};

template <int kBits, int kGroup, int kRows>
void multiply_exact_rows(const TileProduct& t) {
  switch (t.panels) {
    case 1:
      return ExactTile<kBits, kGroup, kRows, 1>::multiply(t);
    case 2:
      return ExactTile<kBits, kGroup, kRows, 2>::multiply(t);
    default:
      return ExactTile<kBits, kGroup, kRows, 4>::multiply(t);
  }
}

template <int kBits, int kGroup>
struct ExactProduct {
  static void multiply(const TileProduct& t) {
    switch (t.rows) {
      case 1:
        return multiply_exact_rows<kBits, kGroup, 1>(t);
      case 2:
        return multiply_exact_rows<kBits, kGroup, 2>(t);
      default:
        return multiply_exact_rows<kBits, kGroup, 3>(t);
    }
  }
};

}  // namespace

MultiplyTile multiply_exact_avx512(WeightLayout layout) { return exact_product<ExactProduct>(layout); }

}  // namespace loci::detail
