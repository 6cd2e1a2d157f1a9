// One function per stored block format. `block` lies at any address of a file; codes, scales and minimums of the block
// are written from `out`'s begin.
#include "kernels/cpu/gemm/codes.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/assert.h"
#include "base/half.h"

namespace loci {
namespace {

struct BlockCodes {
  uint8_t* codes;
  float* scales;
  float* minimums;
};

float load_half(const uint8_t* p) {
  Half h;
  std::memcpy(&h.bits, p, sizeof h.bits);
  return to_float(h);
}

uint32_t load_u32(const uint8_t* p) {
  uint32_t x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

// Sixteen bytes hold columns 0 to 15 in their low halves, 16 to 31 in their high ones.
void split_nibbles(const uint8_t* q, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = q[j] & 15;
    codes[j + 16] = q[j] >> 4;
  }
}

void split_fifth_bits(const uint8_t* q, uint32_t fifth, int bias, uint8_t* codes) {
  split_nibbles(q, codes);
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<uint8_t>((codes[j] | (((fifth >> j) & 1u) << 4)) + bias);
}

void q4_0(const uint8_t* block, const BlockCodes& out) {
  out.scales[0] = load_half(block);
  split_nibbles(block + 2, out.codes);
}

void q4_1(const uint8_t* block, const BlockCodes& out) {
  out.scales[0] = load_half(block);
  out.minimums[0] = load_half(block + 2);
  split_nibbles(block + 4, out.codes);
}

void q5_0(const uint8_t* block, const BlockCodes& out) {
  out.scales[0] = load_half(block);
  split_fifth_bits(block + 6, load_u32(block + 2), 128 - 16, out.codes);
}

void q5_1(const uint8_t* block, const BlockCodes& out) {
  out.scales[0] = load_half(block);
  out.minimums[0] = load_half(block + 2);
  split_fifth_bits(block + 8, load_u32(block + 4), 0, out.codes);
}

void q8_0(const uint8_t* block, const BlockCodes& out) {
  out.scales[0] = load_half(block);
  for (int j = 0; j < 32; ++j) out.codes[j] = block[2 + j] ^ 0x80;
}

void q2_k(const uint8_t* block, const BlockCodes& out) {
  const float d = load_half(block + 80), dmin = load_half(block + 82);
  for (int group = 0; group < 16; ++group) {
    out.scales[group] = d * static_cast<float>(block[group] & 15);
    out.minimums[group] = -dmin * static_cast<float>(block[group] >> 4);
    const uint8_t* q = block + 16 + 32 * (group / 8) + 16 * (group % 2);
    const int shift = 2 * ((group % 8) / 2);
    for (int j = 0; j < 16; ++j) out.codes[16 * group + j] = (q[j] >> shift) & 3;
  }
}

void q3_k(const uint8_t* block, const BlockCodes& out) {
  const uint8_t* packed = block + 96;
  const float d = load_half(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = group < 8 ? packed[group] & 15 : packed[group - 8] >> 4;
    const int high = (packed[8 + group % 4] >> (2 * (group / 4))) & 3;
    out.scales[group] = d * static_cast<float>((low | (high << 4)) - 32);
    const uint8_t* q = block + 32 + 32 * (group / 8) + 16 * (group % 2);
    const uint8_t* third = block + 16 * (group % 2);
    const int shift = 2 * ((group % 8) / 2);
    for (int j = 0; j < 16; ++j) {
      const int code = ((q[j] >> shift) & 3) | (((third[j] >> (group / 2)) & 1) << 2);
      out.codes[16 * group + j] = static_cast<uint8_t>(code - 4 + 128);
    }
  }
}

// The 6-bit scale and minimum of a group of 32 in q4_K and q5_K.
void scale_and_minimum(const uint8_t* block, int group, const BlockCodes& out) {
  const uint8_t* p = block + 4;
  const int scale = group < 4 ? p[group] & 63 : (p[group + 4] & 15) | ((p[group - 4] >> 6) << 4);
  const int minimum = group < 4 ? p[group + 4] & 63 : (p[group + 4] >> 4) | ((p[group] >> 6) << 4);
  out.scales[group] = load_half(block) * static_cast<float>(scale);
  out.minimums[group] = -load_half(block + 2) * static_cast<float>(minimum);
}

void q4_k(const uint8_t* block, const BlockCodes& out) {
  for (int group = 0; group < 8; ++group) {
    scale_and_minimum(block, group, out);
    const uint8_t* q = block + 16 + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int j = 0; j < 32; ++j) out.codes[32 * group + j] = (q[j] >> shift) & 15;
  }
}

void q5_k(const uint8_t* block, const BlockCodes& out) {
  const uint8_t* fifth = block + 16;
  for (int group = 0; group < 8; ++group) {
    scale_and_minimum(block, group, out);
    const uint8_t* q = block + 48 + 32 * (group / 2);
    const int shift = 4 * (group % 2);
    for (int j = 0; j < 32; ++j) {
      out.codes[32 * group + j] = static_cast<uint8_t>(((q[j] >> shift) & 15) | (((fifth[j] >> group) & 1) << 4));
    }
  }
}

void q6_k(const uint8_t* block, const BlockCodes& out) {
  const float d = load_half(block + 208);
  for (int group = 0; group < 16; ++group) {
    out.scales[group] = d * static_cast<float>(static_cast<int8_t>(block[192 + group]));
    const int half = group / 8, quarter = (group % 8) / 2, start = 16 * (group % 2);
    const uint8_t* low = block + 64 * half + 32 * (quarter % 2) + start;
    const uint8_t* high = block + 128 + 32 * half + start;
    for (int j = 0; j < 16; ++j) {
      const int code = ((low[j] >> (4 * (quarter / 2))) & 15) | (((high[j] >> (2 * quarter)) & 3) << 4);
      out.codes[16 * group + j] = static_cast<uint8_t>(code - 32 + 128);
    }
  }
}

using Table = std::array<int, 16>;
constexpr Table kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr Table kE2M1Doubled = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void look_up(const uint8_t* q, const Table& table, uint8_t* codes) {
  split_nibbles(q, codes);
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<uint8_t>(table[codes[j]] + 128);
}

void iq4_nl(const uint8_t* block, const BlockCodes& out) {
  out.scales[0] = load_half(block);
  look_up(block + 2, kNonLinear, out.codes);
}

void iq4_xs(const uint8_t* block, const BlockCodes& out) {
  const float d = load_half(block);
  const int high = block[2] | (block[3] << 8);
  for (int group = 0; group < 8; ++group) {
    const int low = (block[4 + group / 2] >> (4 * (group % 2))) & 15;
    out.scales[group] = d * static_cast<float>((low | (((high >> (2 * group)) & 3) << 4)) - 32);
    look_up(block + 8 + 16 * group, kNonLinear, out.codes + 32 * group);
  }
}

void mxfp4(const uint8_t* block, const BlockCodes& out) {
  // 2^(exponent - 128); the two smallest exponents give subnormal floats.
  const uint32_t bits = block[0] < 2 ? 0x00200000u << block[0] : static_cast<uint32_t>(block[0] - 1) << 23;
  out.scales[0] = std::bit_cast<float>(bits);
  look_up(block + 1, kE2M1Doubled, out.codes);
}

using DecodeBlock = void (*)(const uint8_t* block, const BlockCodes& out);

DecodeBlock decoder(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return q4_0;
    case DType::kQ4_1:
      return q4_1;
    case DType::kQ5_0:
      return q5_0;
    case DType::kQ5_1:
      return q5_1;
    case DType::kQ8_0:
      return q8_0;
    case DType::kQ2_K:
      return q2_k;
    case DType::kQ3_K:
      return q3_k;
    case DType::kQ4_K:
      return q4_k;
    case DType::kQ5_K:
      return q5_k;
    case DType::kQ6_K:
      return q6_k;
    case DType::kIQ4_NL:
      return iq4_nl;
    case DType::kIQ4_XS:
      return iq4_xs;
    case DType::kMXFP4:
      return mxfp4;
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kW4Row:
    case DType::kW4G32:
    case DType::kW4G64:
    case DType::kW4G128:
    case DType::kW8Row:
      break;
  }
  LOCI_ASSERT(false, "plain floats have no codes, rows with one scale no blocks");
}

}  // namespace

void decode_codes(DType dtype, const std::byte* row, const RowCodes& out) {
  const DecodeBlock decode = decoder(dtype);
  const DTypeInfo& format = info(dtype);
  const uint32_t group = info(layout_of(dtype, true)).group;
  LOCI_ASSERT(out.codes.size() % format.block_elements == 0, "a quantized row is whole blocks");
  const auto* block = reinterpret_cast<const uint8_t*>(row);
  for (size_t i = 0; i < out.codes.size(); i += format.block_elements, block += format.block_bytes) {
    float* minimums = out.minimums.empty() ? nullptr : out.minimums.data() + i / group;
    decode(block, {out.codes.data() + i, out.scales.data() + i / group, minimums});
  }
}

}  // namespace loci
