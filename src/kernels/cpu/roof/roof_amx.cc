// The matrix unit: 16 x 16 x 32 bfloat16 products an instruction.
#include "kernels/cpu/roof/roof.h"

#if defined(__AMX_TILE__)
#include "kernels/cpu/simd/tiles_amx.h"

namespace loci {
namespace {

constexpr int kRepeat = 16;
constexpr uint64_t kTileMacs = uint64_t{16} * 16 * 32;

uint64_t tile_macs(size_t rounds, uint64_t seed) {
  const simd_amx::TileRegisters registers({.rows = 16});
  alignas(64) uint16_t numbers[16 * 32];
  for (uint16_t& x : numbers) x = static_cast<uint16_t>(0x3f80 + seed % 7);
  simd_amx::finish_stores();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, numbers, 64);
  _tile_loadd(5, numbers, 64);
  _tile_loadd(6, numbers, 64);
  _tile_loadd(7, numbers, 64);
  for (size_t r = 0; r < rounds; ++r) {
    for (int k = 0; k < kRepeat; ++k) {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  alignas(64) uint64_t words[8 * 16];
  uint64_t out = 0;
  const auto add = [&] {
    for (uint64_t x : words) out += x;
  };
  _tile_stored(0, words, 64);
  add();
  _tile_stored(1, words, 64);
  add();
  _tile_stored(2, words, 64);
  add();
  _tile_stored(3, words, 64);
  add();
  return out;
}

}  // namespace

void detail::add_tiles_amx(RoofKernels& kernels) {
  kernels.bf16_macs = tile_macs;
  kernels.bf16_macs_per_round = 4 * kRepeat * kTileMacs;
}

}  // namespace loci

#else
namespace loci {
void detail::add_tiles_amx(RoofKernels&) {}
}  // namespace loci
#endif
