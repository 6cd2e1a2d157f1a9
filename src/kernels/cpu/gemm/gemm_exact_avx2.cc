// Exact layouts with AVX2: half a panel, 8 outputs, at a time, as in gemm_avx2.cc, whose dot products they share.
#include "kernels/cpu/gemm/dot_avx2.h"
#include "kernels/cpu/gemm/exact_layout.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

using namespace simd_avx2;

template <int kBits, int kGroup, int kRows>
class ExactHalf {
 public:
  // Eight outputs of each row: half 0 to 3 of the tile.
  static void multiply(const TileProduct& t, int half) {
    const std::byte* panel = t.panel + half / 2 * t.shape.bytes;
    const std::byte* codes = panel + t.shape.blocks + 32 * (half % 2);
    const std::byte* block = t.group;
    __m256i acc[kRows];
    for (int r = 0; r < kRows; ++r) acc[r] = _mm256_setzero_si256();
    if constexpr (kGroup == 0) {
      int32_t sum[kRows] = {};
      for (uint32_t b = 0; b < t.columns / 32; ++b) add_block(codes, block, half, acc, sum);
      const __m256i offset = load_bytes(panel + kExactHeader + 32 * (half % 2));
      for (int r = 0; r < kRows; ++r) add_times(acc[r], offset, _mm256_set1_epi32(sum[r]));
    } else {
      const std::byte* group = panel + kExactHeader + 8 * (half % 2);
      for (uint32_t g = 0; g < t.columns / kGroup; ++g, group += 32) add_group(codes, block, group, half, acc);
    }
    const __m256 unit = _mm256_loadu_ps(reinterpret_cast<const float*>(panel) + 8 * (half % 2));
    const std::byte* steps = t.group + steps_offset(t.columns, kRows);
    __m256 out[kRows];
    for (int r = 0; r < kRows; ++r) {
      out[r] = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[r]), unit), broadcast_f32(steps + 4 * r));
    }
    store_rows<kRows>(t, half, out);
  }

 private:
  static constexpr size_t kBlockBytes = 64 * kBits;

  static inline void add_times(__m256i& acc, __m256i a, __m256i b) {
    acc = _mm256_add_epi32(acc, _mm256_mullo_epi32(a, b));
  }

  // idot += codes . q, sum += q, over the block, which is passed.
  static inline void add_block(const std::byte*& codes, const std::byte*& block, int half, __m256i* idot,
                               int32_t* sum) {
    if (half % 2 == 0) {
      for (size_t line = 0; line < kBlockBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBytes + line), _MM_HINT_T0);
      }
    }
    if constexpr (kBits == 4) {
      dot_4bit<kRows>(codes, block, idot);
    } else {
      dot_8bit<32, false, kRows>(codes, block, 0, idot);
    }
    for (int r = 0; r < kRows; ++r) {
      sum[r] += static_cast<int32_t>(load_u32(block + ActivationBlock::bias(kRows) + 4 * r)) / -128;
    }
    codes += kBlockBytes;
    block += ActivationBlock::kRowBytes * kRows;
  }

  static inline void add_group(const std::byte*& codes, const std::byte*& block, const std::byte* group, int half,
                               __m256i* acc) {
    __m256i idot[kRows];
    for (int r = 0; r < kRows; ++r) idot[r] = _mm256_setzero_si256();
    int32_t sum[kRows] = {};
    for (int b = 0; b < kGroup / 32; ++b) add_block(codes, block, half, idot, sum);
    const __m256i step = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(group)));
    const __m256i zero = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(group + 16)));
    for (int r = 0; r < kRows; ++r) {
      add_times(acc[r], idot[r], step);
      add_times(acc[r], zero, _mm256_set1_epi32(sum[r]));
    }
  }
};

template <int kBits, int kGroup, int kRows>
void multiply_exact_rows(const TileProduct& t) {
  for (int half = 0; half < 2 * static_cast<int>(t.panels); ++half) ExactHalf<kBits, kGroup, kRows>::multiply(t, half);
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
        return multiply_exact_rows<kBits, kGroup, 4>(t);
    }
  }
};

}  // namespace

MultiplyTile multiply_exact_avx2(WeightLayout layout) { return exact_product<ExactProduct>(layout); }

}  // namespace loci::detail
