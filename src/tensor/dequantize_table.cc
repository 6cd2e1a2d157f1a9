// Formats whose 4-bit codes index a table of sixteen values.
#include <array>
#include <bit>

#include "tensor/dequantize.h"

namespace loci {
namespace {

// The non-linear grid of IQ4_NL and IQ4_XS, denser around zero.
constexpr std::array<float, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
// Twice the values of the E2M1 numbers of the OCP microscaling format; decode_mxfp4 halves the scale instead. GGUF
// tools read code 8, minus zero, as zero.
constexpr std::array<float, 16> kE2M1Doubled = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void decode_codes(const uint8_t* codes, float d, const std::array<float, 16>& table, float* out) {
  for (int j = 0; j < 16; ++j) {
    out[j] = d * table[codes[j] & 15];
    out[j + 16] = d * table[codes[j] >> 4];
  }
}

// 2^(exponent - 128): half of the E8M0 scale. Exponents 0 and 1 give subnormal floats.
float half_of_e8m0(uint8_t exponent) {
  const uint32_t bits = exponent < 2 ? 0x00200000u << exponent : static_cast<uint32_t>(exponent - 1) << 23;
  return std::bit_cast<float>(bits);
}

}  // namespace

void decode_iq4_nl(const uint8_t* block, float* out) { decode_codes(block + 2, load_half(block), kNonLinear, out); }

// d, high two bits of the eight scales (16 bits), low four bits[4], codes[128]
void decode_iq4_xs(const uint8_t* block, float* out) {
  const float d = load_half(block);
  const int high = block[2] | (block[3] << 8);
  for (int group = 0; group < 8; ++group) {
    const int low = (block[4 + group / 2] >> (4 * (group % 2))) & 15;
    const int scale = (low | (((high >> (2 * group)) & 3) << 4)) - 32;
    decode_codes(block + 8 + 16 * group, d * static_cast<float>(scale), kNonLinear, out + 32 * group);
  }
}

void decode_mxfp4(const uint8_t* block, float* out) {
  decode_codes(block + 1, half_of_e8m0(block[0]), kE2M1Doubled, out);
}

}  // namespace loci
