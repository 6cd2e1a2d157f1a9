// Super-blocks of 256 numbers ("K quants"). Each is a half-precision scale (and, where the format is asymmetric, a
// half-precision minimum) times small integers for groups of 16 or 32 numbers.
#include "tensor/dequantize.h"

namespace loci {
namespace {

struct ScaleMin {
  int scale, min;
};

// Eight 6-bit scales and eight 6-bit minima in 12 bytes: the first four of each have a byte's low six bits; the others
// have their low four bits in bytes 8 to 11 and their high two bits on top of the first eight bytes.
ScaleMin unpack_scale_min(const uint8_t* packed, int group) {
  if (group < 4) return {packed[group] & 63, packed[group + 4] & 63};
  return {(packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4),
          (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4)};
}

// Sixteen 6-bit scales in 12 bytes: low halves in the nibbles of the first eight, high two bits in the last four.
int unpack_q3_scale(const uint8_t* packed, int group) {
  const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
  const int high = (packed[8 + group % 4] >> (2 * (group / 4))) & 3;
  return (low | (high << 4)) - 32;
}

}  // namespace

// scales[16] (4-bit scale, 4-bit minimum), codes[64] (2 bits), d, dmin
void decode_q2_k(const uint8_t* block, float* out) {
  const uint8_t* scales = block;
  const uint8_t* q = block + 16;
  const float d = load_half(block + 80), dmin = load_half(block + 82);
  for (int group = 0; group < 16; ++group) {
    const float dl = d * static_cast<float>(scales[group] & 15);
    const float ml = dmin * static_cast<float>(scales[group] >> 4);
    const uint8_t* codes = q + 32 * (group / 8) + 16 * (group % 2);
    const int shift = 2 * ((group % 8) / 2);
    for (int j = 0; j < 16; ++j) out[16 * group + j] = dl * static_cast<float>((codes[j] >> shift) & 3) - ml;
  }
}

// third bits[32], codes[64] (2 bits), scales[12], d
void decode_q3_k(const uint8_t* block, float* out) {
  const uint8_t* third = block;
  const uint8_t* q = block + 32;
  const uint8_t* scales = block + 96;
  const float d = load_half(block + 108);
  for (int group = 0; group < 16; ++group) {
    const float dl = d * static_cast<float>(unpack_q3_scale(scales, group));
    const uint8_t* codes = q + 32 * (group / 8) + 16 * (group % 2);
    const uint8_t* bits = third + 16 * (group % 2);
    const int shift = 2 * ((group % 8) / 2);
    for (int j = 0; j < 16; ++j) {
      const int code = ((codes[j] >> shift) & 3) - (((bits[j] >> (group / 2)) & 1) ? 0 : 4);
      out[16 * group + j] = dl * static_cast<float>(code);
    }
  }
}

// d, dmin, scales and minima[12], codes[128] (4 bits)
void decode_q4_k(const uint8_t* block, float* out) {
  const float d = load_half(block), dmin = load_half(block + 2);
  const uint8_t* q = block + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleMin s = unpack_scale_min(block + 4, group);
    const float dl = d * static_cast<float>(s.scale), ml = dmin * static_cast<float>(s.min);
    const uint8_t* codes = q + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int j = 0; j < 32; ++j) out[32 * group + j] = dl * static_cast<float>((codes[j] >> shift) & 15) - ml;
  }
}

// d, dmin, scales and minima[12], fifth bits[32], codes[128] (4 bits)
void decode_q5_k(const uint8_t* block, float* out) {
  const float d = load_half(block), dmin = load_half(block + 2);
  const uint8_t* fifth = block + 16;
  const uint8_t* q = block + 48;
  for (int group = 0; group < 8; ++group) {
    const ScaleMin s = unpack_scale_min(block + 4, group);
    const float dl = d * static_cast<float>(s.scale), ml = dmin * static_cast<float>(s.min);
    const uint8_t* codes = q + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int j = 0; j < 32; ++j) {
      const int code = ((codes[j] >> shift) & 15) | (((fifth[j] >> group) & 1) << 4);
      out[32 * group + j] = dl * static_cast<float>(code) - ml;
    }
  }
}

// low codes[128] (4 bits), high codes[64] (2 bits), scales[16] (signed bytes), d
void decode_q6_k(const uint8_t* block, float* out) {
  const uint8_t* low = block;
  const uint8_t* high = block + 128;
  const uint8_t* scales = block + 192;
  const float d = load_half(block + 208);
  for (int group = 0; group < 16; ++group) {
    const float dl = d * static_cast<float>(static_cast<int8_t>(scales[group]));
    const int half = group / 8, quarter = (group % 8) / 2, start = 16 * (group % 2);
    const uint8_t* l = low + 64 * half + 32 * (quarter % 2) + start;
    const uint8_t* h = high + 32 * half + start;
    for (int j = 0; j < 16; ++j) {
      const int code = ((l[j] >> (4 * (quarter / 2))) & 15) | (((h[j] >> (2 * quarter)) & 3) << 4);
      out[16 * group + j] = dl * static_cast<float>(code - 32);
    }
  }
}

}  // namespace loci
