// One decoder for each block-quantized format: a block of bytes in, its numbers out. Internal to src/tensor; everything
// else calls dequantize_row. The products are formed in the order that the formats define, so the results are exact to
// the bit.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/half.h"

namespace loci {

// Blocks lie at any address of a file, so their fields are read byte by byte.
inline float load_half(const uint8_t* p) {
  Half h;
  std::memcpy(&h.bits, p, sizeof h.bits);
  return to_float(h);
}

// Blocks of 32 numbers with one scale (`_0`) or a scale and a minimum (`_1`).
void decode_q4_0(const uint8_t* block, float* out);
void decode_q4_1(const uint8_t* block, float* out);
void decode_q5_0(const uint8_t* block, float* out);
void decode_q5_1(const uint8_t* block, float* out);
void decode_q8_0(const uint8_t* block, float* out);

// Super-blocks of 256 numbers: small integer scales for groups of 16 or 32, times one half-precision scale.
void decode_q2_k(const uint8_t* block, float* out);
void decode_q3_k(const uint8_t* block, float* out);
void decode_q4_k(const uint8_t* block, float* out);
void decode_q5_k(const uint8_t* block, float* out);
void decode_q6_k(const uint8_t* block, float* out);

// Formats whose 4-bit codes index a table of values.
void decode_iq4_nl(const uint8_t* block, float* out);
void decode_iq4_xs(const uint8_t* block, float* out);
void decode_mxfp4(const uint8_t* block, float* out);

}  // namespace loci
