// Exact layouts with AVX2: a panel and up to 4 rows at a time, as in gemm_avx2.cc, whose dot products they share.
#include "kernels/cpu/gemm/dot_avx2.h"
#include "kernels/cpu/gemm/exact_layout.h"
#include "kernels/cpu/quantize/activations.h"

namespace loci::detail {
namespace {

using namespace gemm_avx2;

template <int kBits, int kGroup, int kRows>
class ExactPanel {
 public:
  // Sixteen outputs of each row: panel 0 to 3 of the tile.
  static void multiply(const TileProduct& t, int index) {
    const std::byte* panel = t.panel + index * t.shape.bytes;
    const std::byte* codes = panel + t.shape.blocks;
    const std::byte* block = t.group;
    Fetch<kRows, kBlockBytes> fetch(t, index);
    __m256i acc[kRows][2];
    for (auto& row : acc) row[0] = row[1] = _mm256_setzero_si256();
    if constexpr (kGroup == 0) {
      int32_t sum[kRows] = {};
      for (uint32_t b = 0; b < t.columns / 32; ++b) add_block(codes, block, fetch, acc, sum);
      const __m256i offset[2] = {load_bytes(panel + kExactHeader), load_bytes(panel + kExactHeader + 32)};
      for (int r = 0; r < kRows; ++r) {
        for (int h = 0; h < 2; ++h) add_times(acc[r][h], offset[h], _mm256_set1_epi32(sum[r]));
      }
    } else {
      const std::byte* group = panel + kExactHeader;
      for (uint32_t g = 0; g < t.columns / kGroup; ++g, group += 32) add_group(codes, block, group, fetch, acc);
    }
    const std::byte* steps = t.group + steps_offset(t.columns, kRows);
    __m256 out[kRows][2];
    for (int h = 0; h < 2; ++h) {
      const __m256 unit = _mm256_loadu_ps(reinterpret_cast<const float*>(panel) + 8 * h);
      for (int r = 0; r < kRows; ++r) {
        out[r][h] = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(acc[r][h]), unit), broadcast_f32(steps + 4 * r));
      }
    }
    store_rows<kRows>(t, index, out);
  }

 private:
  static constexpr size_t kBlockBytes = 64 * kBits;

  static inline void add_times(__m256i& acc, __m256i a, __m256i b) {
    acc = _mm256_add_epi32(acc, _mm256_mullo_epi32(a, b));
  }

  // idot += codes . q, sum += q, over the block, which is passed.
  static inline void add_block(const std::byte*& codes, const std::byte*& block, Fetch<kRows, kBlockBytes>& fetch,
                               __m256i (&idot)[kRows][2], int32_t* sum) {
    fetch.next(codes);
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

  static inline void add_group(const std::byte*& codes, const std::byte*& block, const std::byte* group,
                               Fetch<kRows, kBlockBytes>& fetch, __m256i (&acc)[kRows][2]) {
    __m256i idot[kRows][2];
    for (auto& row : idot) row[0] = row[1] = _mm256_setzero_si256();
    int32_t sum[kRows] = {};
    for (int b = 0; b < kGroup / 32; ++b) add_block(codes, block, fetch, idot, sum);
    for (int h = 0; h < 2; ++h) {
      const __m256i step = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(group + 8 * h)));
      const __m256i zero = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(group + 16 + 8 * h)));
      for (int r = 0; r < kRows; ++r) {
        add_times(acc[r][h], idot[r][h], step);
        add_times(acc[r][h], zero, _mm256_set1_epi32(sum[r]));
      }
    }
  }
};

template <int kBits, int kGroup, int kRows>
void multiply_exact_rows(const TileProduct& t) {
  for (int panel = 0; panel < static_cast<int>(t.panels); ++panel) ExactPanel<kBits, kGroup, kRows>::multiply(t, panel);
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
