#include "tensor/dtype.h"

#include <array>
#include <cstring>

#include "base/assert.h"
#include "base/checked.h"
#include "base/half.h"
#include "tensor/dequantize.h"
#include "tensor/row_scaled.h"

namespace loci {
namespace {

struct Format {
  DType dtype;
  uint32_t gguf_type;
  DTypeInfo info;
  void (*decode)(const uint8_t* block, float* out);  // null for plain floats and rows with one scale
};

// In the order of DType. Numbers from 1000 on are Loci's own.
constexpr std::array<Format, 21> kFormats = {{
    {DType::kF32, 0, {"f32", 1, 4}, nullptr},
    {DType::kF16, 1, {"f16", 1, 2}, nullptr},
    {DType::kBF16, 30, {"bf16", 1, 2}, nullptr},
    {DType::kQ4_0, 2, {"q4_0", 32, 18}, decode_q4_0},
    {DType::kQ4_1, 3, {"q4_1", 32, 20}, decode_q4_1},
    {DType::kQ5_0, 6, {"q5_0", 32, 22}, decode_q5_0},
    {DType::kQ5_1, 7, {"q5_1", 32, 24}, decode_q5_1},
    {DType::kQ8_0, 8, {"q8_0", 32, 34}, decode_q8_0},
    {DType::kQ2_K, 10, {"q2_K", 256, 84}, decode_q2_k},
    {DType::kQ3_K, 11, {"q3_K", 256, 110}, decode_q3_k},
    {DType::kQ4_K, 12, {"q4_K", 256, 144}, decode_q4_k},
    {DType::kQ5_K, 13, {"q5_K", 256, 176}, decode_q5_k},
    {DType::kQ6_K, 14, {"q6_K", 256, 210}, decode_q6_k},
    {DType::kIQ4_NL, 20, {"iq4_nl", 32, 18}, decode_iq4_nl},
    {DType::kIQ4_XS, 23, {"iq4_xs", 256, 136}, decode_iq4_xs},
    {DType::kMXFP4, 39, {"mxfp4", 32, 17}, decode_mxfp4},
    {DType::kW4Row, 1000, {"w4_row", 32, 16, 4}, nullptr},
    {DType::kW4G32, 1001, {"w4_g32", 32, 18, 2}, nullptr},
    {DType::kW4G64, 1002, {"w4_g64", 64, 34, 2}, nullptr},
    {DType::kW4G128, 1003, {"w4_g128", 128, 66, 2}, nullptr},
    {DType::kW8Row, 1004, {"w8_row", 32, 32, 2}, nullptr},
}};

constexpr bool in_order() {
  for (size_t i = 0; i < kFormats.size(); ++i) {
    if (static_cast<size_t>(kFormats[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_order(), "kFormats is indexed by DType");

constexpr std::array<DType, kFormats.size()> list_dtypes() {
  std::array<DType, kFormats.size()> all{};
  for (size_t i = 0; i < all.size(); ++i) all[i] = kFormats[i].dtype;
  return all;
}
constexpr std::array<DType, kFormats.size()> kAllDTypes = list_dtypes();

const Format& format_of(DType dtype) {
  const auto index = static_cast<size_t>(dtype);
  LOCI_ASSERT(index < kFormats.size(), "a DType outside the enumeration");
  return kFormats[index];
}

template <typename T>
void widen_row(const std::byte* row, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T x;
    std::memcpy(&x, row + i * sizeof(T), sizeof(T));
    out[i] = to_float(x);
  }
}

}  // namespace

const DTypeInfo& info(DType dtype) { return format_of(dtype).info; }

std::optional<DType> dtype_from_gguf(uint32_t ggml_type) {
  for (const Format& format : kFormats) {
    if (format.gguf_type == ggml_type) return format.dtype;
  }
  return std::nullopt;
}

uint32_t gguf_type(DType dtype) { return format_of(dtype).gguf_type; }

std::span<const DType> all_dtypes() { return kAllDTypes; }

std::optional<size_t> row_bytes(DType dtype, uint64_t elements) {
  const DTypeInfo& format = info(dtype);
  if (elements % format.block_elements != 0) return std::nullopt;
  if (elements == 0) return 0;
  const std::optional<size_t> blocks = checked_mul<size_t>(elements / format.block_elements, format.block_bytes);
  return blocks ? checked_add<size_t>(*blocks, format.header_bytes) : std::nullopt;
}

void dequantize_row(DType dtype, const std::byte* row, std::span<float> out) {
  const Format& format = format_of(dtype);
  switch (dtype) {
    case DType::kF32: {
      if (!out.empty()) std::memcpy(out.data(), row, out.size_bytes());
      return;
    }
    case DType::kF16:
      return widen_row<Half>(row, out);
    case DType::kBF16:
      return widen_row<BFloat16>(row, out);
    case DType::kW4Row:
    case DType::kW4G32:
    case DType::kW4G64:
    case DType::kW4G128:
    case DType::kW8Row:
      return dequantize_row_scaled(dtype, row, out);
    default:
      break;
  }
  LOCI_ASSERT(out.size() % format.info.block_elements == 0, "a quantized row is whole blocks");
  const auto* block = reinterpret_cast<const uint8_t*>(row);
  for (size_t i = 0; i < out.size(); i += format.info.block_elements, block += format.info.block_bytes) {
    format.decode(block, out.data() + i);
  }
}

}  // namespace loci
