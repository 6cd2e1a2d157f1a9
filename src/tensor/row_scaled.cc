#include "tensor/row_scaled.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace loci {
namespace {

constexpr size_t kNibbleColumns = 32;  // whose codes 16 bytes hold
constexpr uint8_t kMostZero = 15;
constexpr DType kGrouped[] = {DType::kW4G128, DType::kW4G64, DType::kW4G32};  // widest first

uint8_t byte_at(const std::byte* p) { return std::to_integer<uint8_t>(*p); }

// The bytes of a group's record, whose codes follow its step and zero.
const std::byte* group_record(DType dtype, const std::byte* row, size_t group) {
  const DTypeInfo& format = info(dtype);
  return row + format.header_bytes + group * format.block_bytes;
}

// Where the 16 bytes with the codes of columns [32 piece, 32 piece + 32) begin.
size_t nibbles_at(DType dtype, size_t piece) {
  const DTypeInfo& format = info(dtype);
  const uint32_t group = step_group(dtype);
  if (group == 0) return format.header_bytes + piece * 16;
  const size_t pieces = group / kNibbleColumns;
  return format.header_bytes + piece / pieces * format.block_bytes + 2 + piece % pieces * 16;
}

// The codes of columns [32 piece, 32 piece + 32).
void read_piece(DType dtype, const std::byte* row, size_t piece, uint8_t* codes) {
  if (dtype == DType::kW8Row) {
    const std::byte* from = row + info(dtype).header_bytes + piece * kNibbleColumns;
    for (size_t i = 0; i < kNibbleColumns; ++i) codes[i] = byte_at(from + i) ^ 0x80;
    return;
  }
  const std::byte* from = row + nibbles_at(dtype, piece);
  for (size_t i = 0; i < 16; ++i) {
    codes[i] = byte_at(from + i) & 15;
    codes[i + 16] = byte_at(from + i) >> 4;
  }
}

}  // namespace

bool is_row_scaled(DType dtype) { return info(dtype).header_bytes > 0; }

uint32_t step_group(DType dtype) {
  LOCI_ASSERT(is_row_scaled(dtype), "a format whose rows have one scale");
  return dtype == DType::kW4Row || dtype == DType::kW8Row ? 0 : info(dtype).block_elements;
}

std::optional<DType> grouped_format(uint32_t most, uint64_t columns) {
  for (const DType dtype : kGrouped) {
    if (step_group(dtype) <= most && columns % step_group(dtype) == 0) return dtype;
  }
  return std::nullopt;
}

Half row_scale(const std::byte* row) {
  Half scale;
  std::memcpy(&scale.bits, row, sizeof scale.bits);
  return scale;
}

CodeGroup code_group(DType dtype, const std::byte* row, size_t group) {
  if (dtype == DType::kW8Row) return {1, 128};
  if (dtype == DType::kW4Row) return {1, byte_at(row + 2)};
  const std::byte* record = group_record(dtype, row, group);
  return {byte_at(record), byte_at(record + 1)};
}

void row_codes(DType dtype, const std::byte* row, std::span<uint8_t> codes) {
  for (size_t first = 0; first < codes.size(); first += kNibbleColumns) {
    read_piece(dtype, row, first / kNibbleColumns, codes.data() + first);
  }
}

bool row_holds(DType dtype, const std::byte* row, size_t columns) {
  if (dtype == DType::kW8Row) return true;
  const uint32_t group = step_group(dtype);
  if (group == 0) return code_group(dtype, row, 0).zero <= kMostZero;
  for (size_t g = 0; g < columns / group; ++g) {
    const CodeGroup of = code_group(dtype, row, g);
    if (of.step < 1 || of.step > kMostStep || of.zero > kMostZero) return false;
    if (of.zero * of.step > -INT8_MIN) return false;
    if ((15 - of.zero) * of.step <= INT8_MAX) continue;
    const std::byte* codes = group_record(dtype, row, g) + 2;
    for (size_t i = 0; i < group / 2; ++i) {
      const int code = std::max(byte_at(codes + i) & 15, byte_at(codes + i) >> 4);
      if ((code - of.zero) * of.step > INT8_MAX) return false;
    }
  }
  return true;
}

void dequantize_row_scaled(DType dtype, const std::byte* row, std::span<float> out) {
  const float scale = to_float(row_scale(row));
  const uint32_t group = step_group(dtype);
  uint8_t codes[kNibbleColumns];
  for (size_t first = 0; first < out.size(); first += kNibbleColumns) {
    read_piece(dtype, row, first / kNibbleColumns, codes);
    const CodeGroup of = code_group(dtype, row, group == 0 ? 0 : first / group);
    for (size_t i = 0; i < kNibbleColumns; ++i) {
      out[first + i] = scale * static_cast<float>((codes[i] - of.zero) * of.step);
    }
  }
}

void write_row(DType dtype, Half scale, std::span<const CodeGroup> groups, std::span<const uint8_t> codes,
               std::byte* row) {
  LOCI_ASSERT(codes.size() % info(dtype).block_elements == 0, "a quantized row is whole blocks");
  std::memset(row, 0, *row_bytes(dtype, codes.size()));
  std::memcpy(row, &scale.bits, sizeof scale.bits);
  if (dtype == DType::kW8Row) {
    for (size_t k = 0; k < codes.size(); ++k) row[info(dtype).header_bytes + k] = std::byte(codes[k] ^ 0x80);
    return;
  }
  if (step_group(dtype) == 0) {
    row[2] = std::byte(groups[0].zero);
  } else {
    LOCI_ASSERT(groups.size() == codes.size() / step_group(dtype), "a step for every group");
    for (size_t g = 0; g < groups.size(); ++g) {
      std::byte* record = row + info(dtype).header_bytes + g * info(dtype).block_bytes;
      record[0] = std::byte(groups[g].step);
      record[1] = std::byte(groups[g].zero);
    }
  }
  for (size_t piece = 0; piece < codes.size() / kNibbleColumns; ++piece) {
    std::byte* to = row + nibbles_at(dtype, piece);
    const uint8_t* from = codes.data() + piece * kNibbleColumns;
    for (size_t i = 0; i < 16; ++i) to[i] = std::byte(static_cast<uint8_t>(from[i] | (from[i + 16] << 4)));
  }
}

}  // namespace loci
