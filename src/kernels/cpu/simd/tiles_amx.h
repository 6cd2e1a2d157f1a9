// The matrix unit's tile registers. Include only from *_amx.cc.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace loci::simd_amx {

// GCC 12 does not know that its intrinsics read memory: what a tile or a configuration is loaded from is written before
// this.
static inline void finish_stores() { __asm__ volatile("" ::: "memory"); }

struct TileShape {
  size_t rows;             // of sums and left operands
  size_t left_bytes = 64;  // of a left operand's row: four to each of a right operand's
  size_t right_rows = 16;
};

// All eight registers for this thread while it lives: sums (tiles 0 to 3), left operands (4 and 5), right operands (6
// and 7). Given back at the end, so that the system need not save them when it switches threads.
class TileRegisters {
 public:
  explicit TileRegisters(const TileShape& shape) {
    struct alignas(64) {
      uint8_t palette = 1;
      uint8_t start_row = 0;
      uint8_t reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = static_cast<uint16_t>(tile == 4 || tile == 5 ? shape.left_bytes : 64);
      config.rows[tile] = static_cast<uint8_t>(tile < 6 ? shape.rows : shape.right_rows);
    }
    __asm__ volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  ~TileRegisters() { _tile_release(); }
  TileRegisters(const TileRegisters&) = delete;
  TileRegisters& operator=(const TileRegisters&) = delete;
};

}  // namespace loci::simd_amx
