// The matrix unit's tile registers. Include only from *_amx.cc.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace loci::simd_amx {

// GCC 12 does not know that its intrinsics read memory: what a tile or a configuration is loaded from is written before
// this.
static inline void finish_stores() { __asm__ volatile("" ::: "memory"); }

// All eight registers for this thread while it lives: sums (tiles 0 to 3) and left operands (4 and 5) have `rows` rows
// of 64 bytes, right operands (6 and 7) sixteen. Given back at the end, so that the system need not save them when it
// switches threads.
class TileRegisters {
 public:
  explicit TileRegisters(size_t rows) {
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = 64;
      config.rows[tile] = tile < 6 ? static_cast<uint8_t>(rows) : 16;
    }
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

}  // namespace loci::simd_amx
