// Number formats of stored tensors: plain floats, the block-quantized formats of GGUF files, and Loci's own, whose rows
// have one scale (row_scaled.h).
//
// A quantized row is a header, where the format has one, and a run of blocks; a block holds `block_elements` numbers in
// `block_bytes` bytes. Rows are whole blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace loci {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  kW4Row,
  kW4G32,
  kW4G64,
  kW4G128,
  kW8Row,
};

struct DTypeInfo {
  std::string_view name;  // as GGUF tools print it: "q4_K"
  uint32_t block_elements;
  uint32_t block_bytes;
  uint32_t header_bytes = 0;  // before a row's first block
};

const DTypeInfo& info(DType dtype);
std::optional<DType> dtype_from_gguf(uint32_t ggml_type);  // the type number in a GGUF file
uint32_t gguf_type(DType dtype);
std::span<const DType> all_dtypes();

// Bytes of `elements` numbers in one row; empty if that is no whole number of blocks or overflows.
std::optional<size_t> row_bytes(DType dtype, uint64_t elements);

// Writes out.size() numbers decoded from `row`, which holds at least row_bytes(dtype, out.size()) bytes. The reference
// of every packed layout: exact to fp32.
void dequantize_row(DType dtype, const std::byte* row, std::span<float> out);

}  // namespace loci
