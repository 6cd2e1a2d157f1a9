#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "io/printable.h"
#include "io/safetensors_header.h"

namespace loci {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

struct Format {
  std::string_view name;
  uint64_t bytes;
  std::optional<DType> dtype;
};

constexpr std::array<Format, 15> kFormats = {{
    {"F32", 4, DType::kF32},
    {"F16", 2, DType::kF16},
    {"BF16", 2, DType::kBF16},
    {"F64", 8, std::nullopt},
    {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt},
    {"I64", 8, std::nullopt},
    {"I32", 4, std::nullopt},
    {"I16", 2, std::nullopt},
    {"I8", 1, std::nullopt},
    {"U64", 8, std::nullopt},
    {"U32", 4, std::nullopt},
    {"U16", 2, std::nullopt},
    {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},
}};

Result<std::string_view> header_text(std::span<const std::byte> file) {
  uint64_t length = 0;
  if (file.size() < sizeof length) {
    return fail(ErrorCode::kCorrupt, "it has {} bytes, a safetensors file has at least {}", file.size(), sizeof length);
  }
  std::memcpy(&length, file.data(), sizeof length);
  const uint64_t limit = std::min<uint64_t>(file.size() - sizeof length, kMaxHeaderBytes);
  if (length > limit) {
    return fail(ErrorCode::kCorrupt, "its safetensors header has {} bytes, at most {} are possible", length, limit);
  }
  return std::string_view(reinterpret_cast<const char*>(file.data() + sizeof length), length);
}

Result<uint64_t> shape_bytes(const SafetensorsEntry& entry, uint64_t element_bytes) {
  std::optional<uint64_t> bytes = element_bytes;
  for (const uint64_t extent : entry.shape) {
    if (extent == 0) return fail(ErrorCode::kCorrupt, "tensor '{}' has an extent of 0", printable(entry.name));
    if (bytes) bytes = checked_mul(*bytes, extent);
  }
  if (bytes) return *bytes;
  return fail(ErrorCode::kCorrupt, "tensor '{}' has a size above 2^64 bytes", printable(entry.name));
}

Result<SafeTensor> place_tensor(SafetensorsEntry entry, std::span<const std::byte> data) {
  const auto* format =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const Format& f) { return f.name == entry.format; });
  if (format == kFormats.end()) {
    return fail(ErrorCode::kUnsupported, "tensor '{}' has the number format '{}', which this program does not know",
                printable(entry.name), printable(entry.format));
  }
  if (entry.offsets.size() != 2) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' has {} data_offsets, 2 are needed", printable(entry.name),
                entry.offsets.size());
  }
  const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
  if (begin > end || end > data.size()) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' has data_offsets {} to {}, but the file has {} bytes of data",
                printable(entry.name), begin, end, data.size());
  }
  LOCI_TRY(const uint64_t bytes, shape_bytes(entry, format->bytes));
  if (bytes != end - begin) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' has {} bytes by its shape, but {} by its data_offsets",
                printable(entry.name), bytes, end - begin);
  }
  if (entry.shape.empty()) entry.shape.push_back(1);
  return SafeTensor{std::move(entry.name), std::move(entry.format), format->dtype, std::move(entry.shape),
                    data.subspan(begin, bytes)};
}

// The format allows neither gaps nor overlaps, so a file has one reading only.
Status check_contiguous(const std::vector<SafeTensor>& tensors, std::span<const std::byte> data) {
  std::vector<const SafeTensor*> by_offset;
  by_offset.reserve(tensors.size());
  for (const SafeTensor& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const SafeTensor* a, const SafeTensor* b) { return a->data.data() < b->data.data(); });
  const std::byte* expected = data.data();
  for (const SafeTensor* tensor : by_offset) {
    if (tensor->data.data() != expected) {
      return fail(ErrorCode::kCorrupt,
                  "tensor '{}' starts at byte {} of the data, {} was expected: there is a gap or overlap",
                  printable(tensor->name), tensor->data.data() - data.data(), expected - data.data());
    }
    expected += tensor->data.size();
  }
  if (expected == data.data() + data.size()) return {};
  return fail(ErrorCode::kCorrupt, "the tensors end at byte {} of the data, but the file has {}",
              expected - data.data(), data.size());
}

}  // namespace

Result<std::vector<SafeTensor>> parse_safetensors(std::span<const std::byte> file) {
  LOCI_TRY(const std::string_view text, header_text(file));
  LOCI_TRY(std::vector<SafetensorsEntry> entries, read_safetensors_header(text));
  const std::span<const std::byte> data = file.subspan(sizeof(uint64_t) + text.size());
  std::vector<SafeTensor> tensors;
  tensors.reserve(entries.size());
  for (SafetensorsEntry& entry : entries) {
    LOCI_TRY(SafeTensor tensor, place_tensor(std::move(entry), data));
    tensors.push_back(std::move(tensor));
  }
  LOCI_CHECK(check_contiguous(tensors, data));
  return tensors;
}

}  // namespace loci
