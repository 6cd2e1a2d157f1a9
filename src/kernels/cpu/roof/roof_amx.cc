// The matrix unit: 16 x 16 x 32 products of bfloat16 an instruction, 16 x 16 x 64 of int8.
#include "kernels/cpu/roof/roof.h"

#if defined(__AMX_TILE__)
#include "kernels/cpu/simd/tiles_amx.h"

namespace loci {
namespace {

constexpr int kRepeat = 16;
constexpr uint64_t kTileMacs = uint64_t{16} * 16 * 32;  // of bfloat16; twice as many of int8

// Four chains of sums over the same operands; `products` is one round of them.
template <typename Products>
[[gnu::always_inline]] inline uint64_t run_tiles(size_t rounds, uint16_t number, Products&& products) {
  const simd_amx::TileRegisters registers({.rows = 16});
  alignas(64) uint16_t numbers[16 * 32];
  for (uint16_t& x : numbers) x = number;
  simd_amx::finish_stores();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, numbers, 64);
  _tile_loadd(5, numbers, 64);
  _tile_loadd(6, numbers, 64);
  _tile_loadd(7, numbers, 64);
  for (size_t r = 0; r < rounds * kRepeat; ++r) products();
  alignas(64) uint64_t words[4][8 * 16];
  _tile_stored(0, words[0], 64);
  _tile_stored(1, words[1], 64);
  _tile_stored(2, words[2], 64);
  _tile_stored(3, words[3], 64);
  return words[0][0] + words[1][1] + words[2][2] + words[3][3];
}

uint64_t bf16_tiles(size_t rounds, uint64_t seed) {
  return run_tiles(rounds, static_cast<uint16_t>(0x3f80 + seed % 7), [] {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  });
}

uint64_t int8_tiles(size_t rounds, uint64_t seed) {
  return run_tiles(rounds, static_cast<uint16_t>(0x0101 + seed % 7), [] {
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  });
}

}  // namespace

void detail::add_tiles_amx(RoofKernels& kernels) {
  kernels.bf16_macs = bf16_tiles;
  kernels.bf16_macs_per_round = 4 * kRepeat * kTileMacs;
  kernels.int8_dots = int8_tiles;
  kernels.int8_macs_per_round = 4 * kRepeat * 2 * kTileMacs;
}

}  // namespace loci

#else
namespace loci {
void detail::add_tiles_amx(RoofKernels&) {}
}  // namespace loci
#endif
