// Blocks of 32 numbers. In the 4- and 5-bit formats byte j holds number j in its low half and number j + 16 in its high
// half; the fifth bits of number j and j + 16 are bits j and j + 16 of a 32-bit word before the bytes.
#include "tensor/dequantize.h"

namespace loci {
namespace {

uint32_t load_u32(const uint8_t* p) {
  uint32_t x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

int fifth_bit(uint32_t bits, int i) { return static_cast<int>((bits >> i) & 1u) << 4; }

}  // namespace

void decode_q4_0(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const uint8_t* q = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((q[j] & 15) - 8) * d;
    out[j + 16] = static_cast<float>((q[j] >> 4) - 8) * d;
  }
}

void decode_q4_1(const uint8_t* block, float* out) {
  const float d = load_half(block), m = load_half(block + 2);
  const uint8_t* q = block + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(q[j] & 15) * d + m;
    out[j + 16] = static_cast<float>(q[j] >> 4) * d + m;
  }
}

void decode_q5_0(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const uint32_t high = load_u32(block + 2);
  const uint8_t* q = block + 6;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(((q[j] & 15) | fifth_bit(high, j)) - 16) * d;
    out[j + 16] = static_cast<float>(((q[j] >> 4) | fifth_bit(high, j + 16)) - 16) * d;
  }
}

void decode_q5_1(const uint8_t* block, float* out) {
  const float d = load_half(block), m = load_half(block + 2);
  const uint32_t high = load_u32(block + 4);
  const uint8_t* q = block + 8;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>((q[j] & 15) | fifth_bit(high, j)) * d + m;
    out[j + 16] = static_cast<float>((q[j] >> 4) | fifth_bit(high, j + 16)) * d + m;
  }
}

void decode_q8_0(const uint8_t* block, float* out) {
  const float d = load_half(block);
  for (int j = 0; j < 32; ++j) out[j] = static_cast<float>(static_cast<int8_t>(block[2 + j])) * d;
}

}  // namespace loci
