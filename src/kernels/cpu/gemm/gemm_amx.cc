// Products of sixteen rows in the matrix unit (AMX_INT8): 16 rows x 16 outputs x 32 columns an instruction. Fewer rows
// are AVX-512's.
//
// A panel's codes of a block are a right operand as they lie, and so are a block's sixteen low or high parts as left
// ones. Where scales change every 16 or 32 columns, the unit's sums leave it as often, and what the vector units then
// do is the bound: per vector of sums a load, a conversion, a product with the scale, and the high parts', which are
// multiplied for all rows if one of them has any. The next block's products are under way meanwhile. Exact layouts
// keep their sums in the unit from a row's first column to its last.
//
// The integers are those of gemm_avx512.cc and so are the fp32 operations on them.
#include <immintrin.h>

#include "kernels/cpu/gemm/dot_avx512.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/quantize/activations.h"
#include "kernels/cpu/simd/tiles_amx.h"

namespace loci::detail {
namespace {

using namespace simd_avx512;
using simd_amx::TileRegisters;

constexpr int kRows = kTileGroupRows;
constexpr size_t kRowBlock = ActivationBlock::kRowBytes * kRows;

inline __mmask16 outputs_of(const TileProduct& t, uint32_t panel) {
  const int exist = static_cast<int>(t.outputs) - 16 * static_cast<int>(panel);
  return static_cast<__mmask16>(exist >= 16 ? 0xffff : (1u << exist) - 1);
}

inline __m512i load_rows(const std::byte* from) { return _mm512_loadu_si512(from); }

// Layouts of 8-bit codes with scales.
template <int kGroup, bool kMinimum>
class ScaledPanel {
 public:
  static void multiply(const TileProduct& t) {
    const TileRegisters registers({.rows = kRows, .left_bytes = kGroup, .right_rows = kGroup / 4});
    for (uint32_t p = 0; p < t.panels; ++p) ScaledPanel(t, p).run();
  }

 private:
  static constexpr size_t kGroupBytes = kMinimum ? 64 : 32;
  static constexpr int kGroups = 32 / kGroup;  // in a block
  static constexpr size_t kBlockBytes = 512 + kGroups * kGroupBytes;

  // What one group's products are.
  struct alignas(64) Sums {
    int32_t low[kRows][16];
    int32_t high[kRows][16];
  };
  struct Flags {
    bool wide;    // there are high parts
    bool scaled;  // a row's scale is not 1
  };

  // Where a group lies.
  struct Place {
    const std::byte* codes;  // of its block
    const std::byte* rows;   // the activations' block
    int index;               // within the block

    const std::byte* part_codes() const { return codes + index * kGroup * 16; }
    const std::byte* low() const { return rows + index * kGroup; }
    const std::byte* high() const { return low() + ActivationBlock::high(kRows); }
    const std::byte* scales() const { return codes + 512 + static_cast<size_t>(index) * kGroupBytes; }
    Flags flags() const {
      const __m512i words = load_rows(rows + ActivationBlock::flags(kRows));
      const int wide = kGroup == 32 ? ActivationBlock::kWide : index == 0 ? 0x0f : 0xf0;
      return {_mm512_test_epi32_mask(words, _mm512_set1_epi32(wide)) != 0,
              _mm512_test_epi32_mask(words, _mm512_set1_epi32(ActivationBlock::kScaled)) != 0};
    }
    // -128 times the sums of the group's q, into `scratch` where they do not lie in the block.
    const std::byte* bias(std::byte* scratch) const {
      const std::byte* whole = rows + ActivationBlock::bias(kRows);
      const std::byte* low = rows + ActivationBlock::low_bias(kRows);
      if constexpr (kGroup == 32) return whole;
      if (index == 0) return low;
      _mm512_store_si512(scratch, _mm512_sub_epi32(load_rows(whole), load_rows(low)));
      return scratch;
    }
    // Activation scale * sum of q, likewise.
    const std::byte* scale_sum(std::byte* scratch) const {
      if constexpr (kGroup == 32) return rows + ActivationBlock::scale_sum(kRows);
      const __m512i sum = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_srai_epi32(load_rows(bias(scratch)), 7));
      const __m512 scale = (__m512)load_rows(rows + ActivationBlock::scale(kRows));
      _mm512_store_si512(scratch, (__m512i)_mm512_mul_ps(scale, _mm512_cvtepi32_ps(sum)));
      return scratch;
    }
  };

  ScaledPanel(const TileProduct& t, uint32_t panel) : t_(t), panel_(panel), start_(t.panel + panel * t.shape.bytes) {}

  Place place(uint32_t group) const {
    const uint32_t block = group / kGroups;
    return {start_ + t_.shape.blocks + block * kBlockBytes, t_.group + block * kRowBlock,
            static_cast<int>(group % kGroups)};
  }

  // While a group's sums are added, those of the next are on their way to memory and the next but one's products under
  // way: sums that were fetched as soon as they are stored, or stored as soon as they are begun, would be waited for.
  void run() const {
    __m512 acc[kRows];
    for (__m512& x : acc) x = _mm512_setzero_ps();
    Sums even, odd;
    Flags even_flags, odd_flags;
    const uint32_t groups = t_.columns / kGroup;
    multiply_even(place(0), even_flags);
    store_even(even_flags, even);
    if (groups > 1) multiply_odd(place(1), odd_flags);
    for (uint32_t g = 0; g < groups; g += 2) {
      if (g + 1 < groups) store_odd(odd_flags, odd);
      const Flags of_even = even_flags;
      if (g + 2 < groups) multiply_even(place(g + 2), even_flags);
      add(place(g), even, of_even, acc);
      if (g + 1 == groups) break;
      if (g + 2 < groups) store_even(even_flags, even);
      const Flags of_odd = odd_flags;
      if (g + 3 < groups) multiply_odd(place(g + 3), odd_flags);
      add(place(g + 1), odd, of_odd, acc);
    }
    store(acc);
  }

  // Into tiles 0 and 1, and 2 and 3.
  static void multiply_even(const Place& at, Flags& flags) {
    _tile_loadd(6, at.part_codes(), 64);
    _tile_loadd(4, at.low(), 32);
    _tile_zero(0);
    _tile_dpbsud(0, 4, 6);
    flags = at.flags();
    if (!flags.wide) return;
    _tile_loadd(5, at.high(), 32);
    _tile_zero(1);
    _tile_dpbsud(1, 5, 6);
  }
  static void multiply_odd(const Place& at, Flags& flags) {
    _tile_loadd(7, at.part_codes(), 64);
    _tile_loadd(4, at.low(), 32);
    _tile_zero(2);
    _tile_dpbsud(2, 4, 7);
    flags = at.flags();
    if (!flags.wide) return;
    _tile_loadd(5, at.high(), 32);
    _tile_zero(3);
    _tile_dpbsud(3, 5, 7);
  }
  static void store_even(Flags flags, Sums& to) {
    _tile_stored(0, to.low, 64);
    if (flags.wide) _tile_stored(1, to.high, 64);
  }
  static void store_odd(Flags flags, Sums& to) {
    _tile_stored(2, to.low, 64);
    if (flags.wide) _tile_stored(3, to.high, 64);
  }

  [[gnu::always_inline]] static inline void add(const Place& at, const Sums& sums, Flags flags, __m512 (&acc)[kRows]) {
    if (flags.scaled) [[unlikely]] {
      flags.wide ? add_sums<true, true>(at, sums, acc) : add_sums<false, true>(at, sums, acc);
    } else {
      flags.wide ? add_sums<true, false>(at, sums, acc) : add_sums<false, false>(at, sums, acc);
    }
  }

  template <bool kWide, bool kScaled>
  [[gnu::always_inline]] static inline void add_sums(const Place& at, const Sums& sums, __m512 (&acc)[kRows]) {
    const __m512 weight_scale = load_halves(at.scales());
    const __m512 minimum = kMinimum ? load_halves(at.scales() + 32) : _mm512_setzero_ps();
    alignas(64) std::byte scratch[kRows * 4];
    const std::byte* bias = kMinimum ? nullptr : at.bias(scratch);
    const std::byte* scale_sum = kMinimum ? at.scale_sum(scratch) : nullptr;
    const std::byte* scale = at.rows + ActivationBlock::scale(kRows);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      __m512i dot = _mm512_load_si512(sums.low[r]);
      if constexpr (kWide) dot = _mm512_add_epi32(dot, _mm512_slli_epi32(_mm512_load_si512(sums.high[r]), 8));
      if constexpr (!kMinimum) dot = _mm512_add_epi32(dot, broadcast_i32(bias + 4 * r));
      const __m512 factor = kScaled ? _mm512_mul_ps(broadcast_f32(scale + 4 * r), weight_scale) : weight_scale;
      acc[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), factor, acc[r]);
      if constexpr (kMinimum) acc[r] = _mm512_fmadd_ps(broadcast_f32(scale_sum + 4 * r), minimum, acc[r]);
      // GCC 12 would otherwise fetch all rows' sums first and spill the accumulators.
      __asm__ volatile("" : "+v"(acc[r]) : : "memory");
    }
  }

  void store(const __m512 (&acc)[kRows]) const {
    const __m512 unit = _mm512_loadu_ps(start_);
    const __mmask16 mask = outputs_of(t_, panel_);
    const std::byte* step = t_.group + steps_offset(t_.columns, kRows);
    float* out = t_.out + 16 * panel_;
    for (int r = 0; r < kRows; ++r, out += t_.out_stride) {
      _mm512_mask_storeu_ps(out, mask, _mm512_mul_ps(_mm512_mul_ps(acc[r], unit), broadcast_f32(step + 4 * r)));
    }
  }

  const TileProduct& t_;
  uint32_t panel_;
  const std::byte* start_;
};

// w8_row: sums stay in tiles 0 to 3, one a panel.
template <int kPanels>
void multiply_exact(const TileProduct& t) {
  const TileRegisters registers({.rows = kRows, .left_bytes = 32, .right_rows = 8});
  const size_t stride = t.shape.bytes;
  const std::byte* codes = t.panel + t.shape.blocks;
  const std::byte* block = t.group;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  __m512i bias = _mm512_setzero_si512();
  for (uint32_t b = 0; b < t.columns / 32; ++b, codes += 512, block += kRowBlock) {
    bias = _mm512_add_epi32(bias, load_rows(block + ActivationBlock::bias(kRows)));
    _tile_loadd(4, block, 32);
    _tile_loadd(6, codes, 64);
    _tile_dpbsud(0, 4, 6);
    if constexpr (kPanels >= 2) {
      _tile_loadd(7, codes + stride, 64);
      _tile_dpbsud(1, 4, 7);
    }
    if constexpr (kPanels == 4) {
      _tile_loadd(6, codes + 2 * stride, 64);
      _tile_dpbsud(2, 4, 6);
      _tile_loadd(7, codes + 3 * stride, 64);
      _tile_dpbsud(3, 4, 7);
    }
  }
  alignas(64) int32_t sums[4][kRows][16];
  _tile_stored(0, sums[0], 64);
  _tile_stored(1, sums[1], 64);
  _tile_stored(2, sums[2], 64);
  _tile_stored(3, sums[3], 64);
  alignas(64) int32_t row_sum[kRows];  // of q
  _mm512_store_si512(row_sum, _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_srai_epi32(bias, 7)));
  const std::byte* step = t.group + steps_offset(t.columns, kRows);
  for (uint32_t p = 0; p < kPanels; ++p) {
    const std::byte* panel = t.panel + p * stride;
    const __m512 unit = _mm512_loadu_ps(panel);
    const __m512i offset = _mm512_loadu_si512(panel + kExactHeader);
    const __mmask16 mask = outputs_of(t, p);
    for (int r = 0; r < kRows; ++r) {
      const __m512i sum =
          _mm512_add_epi32(_mm512_load_si512(sums[p][r]), _mm512_mullo_epi32(offset, _mm512_set1_epi32(row_sum[r])));
      const __m512 scaled = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), unit), broadcast_f32(step + 4 * r));
      _mm512_mask_storeu_ps(t.out + static_cast<size_t>(r) * t.out_stride + 16 * p, mask, scaled);
    }
  }
}

void multiply_exact_panels(const TileProduct& t) {
  switch (t.panels) {
    case 1:
      return multiply_exact<1>(t);
    case 2:
      return multiply_exact<2>(t);
    default:
      return multiply_exact<4>(t);
  }
}

template <WeightLayout kLayout, MultiplyTile kTiles>
void multiply_rows(const TileProduct& t) {
  if (t.rows != kTileGroupRows) {
    return multiply_tile_avx512(kLayout)(t);
  }
  for (size_t line = 0; line < size_t{t.ahead_lines} * (t.columns / 32); ++line) {
    _mm_prefetch(reinterpret_cast<const char*>(t.ahead + line * 64), _MM_HINT_T1);
  }
  simd_amx::finish_stores();
  kTiles(t);
}

}  // namespace

MultiplyTile multiply_tile_amx(WeightLayout layout) {
  switch (layout) {
    case WeightLayout::kW8:
      return multiply_rows<WeightLayout::kW8, ScaledPanel<32, false>::multiply>;
    case WeightLayout::kW8m:
      return multiply_rows<WeightLayout::kW8m, ScaledPanel<32, true>::multiply>;
    case WeightLayout::kW8x16:
      return multiply_rows<WeightLayout::kW8x16, ScaledPanel<16, false>::multiply>;
    case WeightLayout::kW8mx16:
      return multiply_rows<WeightLayout::kW8mx16, ScaledPanel<16, true>::multiply>;
    case WeightLayout::kW8Row:
      return multiply_rows<WeightLayout::kW8Row, multiply_exact_panels>;
    default:
      return multiply_tile_avx512(layout);
  }
}

}  // namespace loci::detail
