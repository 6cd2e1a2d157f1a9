#include "io/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <unordered_set>

#include "base/checked.h"
#include "io/gguf_cursor.h"
#include "io/gguf_value.h"

namespace loci {
namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;
// The least that an entry occupies: an empty key, a type and a byte; a name, one extent, a type and an offset.
constexpr uint64_t kMinEntryBytes = 8 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 4 + 8 + 4 + 8;

// One tensor's record as it lies in the file. Its offset counts from the start of the data, which follows all records.
struct TensorInfo {
  std::string_view name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;  // outermost first
  uint64_t bytes = 0;
  uint64_t offset = 0;
};

Result<uint32_t> read_version(GgufCursor& cursor) {
  LOCI_TRY(const uint32_t magic, cursor.scalar<uint32_t>("the magic number"));
  if (magic != kMagic) {
    return fail(ErrorCode::kCorrupt, "it starts with {:#010x}, not with the letters GGUF ({:#010x})", magic, kMagic);
  }
  LOCI_TRY(const uint32_t version, cursor.scalar<uint32_t>("the format version"));
  if (version == 2 || version == 3) return version;
  if (const uint32_t swapped = __builtin_bswap32(version); swapped >= 1 && swapped <= 3) {
    return fail(ErrorCode::kUnsupported, "it is a big-endian GGUF file; convert it to little-endian");
  }
  return fail(ErrorCode::kUnsupported, "its GGUF version is {}, this program reads 2 and 3", version);
}

Result<uint64_t> read_count(GgufCursor& cursor, std::string_view field) { return cursor.scalar<uint64_t>(field); }

Status check_count(const GgufCursor& cursor, std::string_view what, uint64_t count, uint64_t least_bytes) {
  if (count <= cursor.remaining() / least_bytes) return {};
  return fail(ErrorCode::kCorrupt, "the number of {} is {}, but the {} bytes left hold at most {}", what, count,
              cursor.remaining(), cursor.remaining() / least_bytes);
}

Result<Metadata> read_metadata(GgufCursor& cursor, uint64_t count) {
  LOCI_CHECK(check_count(cursor, "metadata entries", count, kMinEntryBytes));
  Metadata metadata;
  for (uint64_t i = 0; i < count; ++i) {
    LOCI_TRY(const std::string_view key, cursor.string("a metadata key"));
    if (metadata.find(key) != nullptr) {
      return fail(ErrorCode::kCorrupt, "metadata key '{}' occurs twice", printable(key));
    }
    LOCI_TRY(MetaValue value, read_gguf_value(cursor, key));
    metadata.set(std::string(key), std::move(value));
  }
  return metadata;
}

// GGUF lists extents innermost first.
Result<std::vector<uint64_t>> read_shape(GgufCursor& cursor, std::string_view name) {
  LOCI_TRY(const uint32_t dimensions, cursor.scalar<uint32_t>("a tensor's number of dimensions"));
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' has {} dimensions, 1 to {} are allowed", printable(name), dimensions,
                kMaxDimensions);
  }
  std::vector<uint64_t> shape(dimensions);
  for (size_t i = shape.size(); i-- > 0;) {
    LOCI_TRY(shape[i], cursor.scalar<uint64_t>("a tensor's extent"));
    if (shape[i] == 0) return fail(ErrorCode::kCorrupt, "tensor '{}' has an extent of 0", printable(name));
  }
  return shape;
}

Result<uint64_t> tensor_bytes(std::string_view name, DType dtype, const std::vector<uint64_t>& shape) {
  const DTypeInfo& format = info(dtype);
  if (shape.back() % format.block_elements != 0) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' has rows of {} numbers, not a multiple of the {} in a block of {}",
                printable(name), shape.back(), format.block_elements, format.name);
  }
  std::optional<uint64_t> bytes = row_bytes(dtype, shape.back());
  for (size_t i = 0; bytes && i + 1 < shape.size(); ++i) bytes = checked_mul(*bytes, shape[i]);
  if (!bytes) return fail(ErrorCode::kCorrupt, "tensor '{}' has a size above 2^64 bytes", printable(name));
  return *bytes;
}

Result<TensorInfo> read_tensor_info(GgufCursor& cursor) {
  TensorInfo tensor;
  LOCI_TRY(tensor.name, cursor.string("a tensor's name"));
  LOCI_TRY(tensor.shape, read_shape(cursor, tensor.name));
  LOCI_TRY(const uint32_t type, cursor.scalar<uint32_t>("a tensor's type"));
  const std::optional<DType> dtype = dtype_from_gguf(type);
  if (!dtype) {
    return fail(ErrorCode::kUnsupported, "tensor '{}' has the number format {}, which this program does not read",
                printable(tensor.name), type);
  }
  tensor.dtype = *dtype;
  LOCI_TRY(tensor.bytes, tensor_bytes(tensor.name, tensor.dtype, tensor.shape));
  LOCI_TRY(tensor.offset, cursor.scalar<uint64_t>("a tensor's offset"));
  return tensor;
}

Result<std::vector<TensorInfo>> read_tensor_infos(GgufCursor& cursor, uint64_t count) {
  LOCI_CHECK(check_count(cursor, "tensors", count, kMinTensorInfoBytes));
  std::vector<TensorInfo> tensors;
  std::unordered_set<std::string_view> names;
  for (uint64_t i = 0; i < count; ++i) {
    LOCI_TRY(TensorInfo tensor, read_tensor_info(cursor));
    if (!names.insert(tensor.name).second) {
      return fail(ErrorCode::kCorrupt, "tensor '{}' occurs twice", printable(tensor.name));
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

Result<uint64_t> read_alignment(const Metadata& metadata) {
  LOCI_TRY(const uint64_t alignment, metadata.u32_or("general.alignment", kDefaultAlignment));
  if (alignment >= 8 && alignment <= kMaxAlignment && std::has_single_bit(alignment)) return alignment;
  return fail(ErrorCode::kCorrupt, "general.alignment is {}, it must be a power of two from 8 to {}", alignment,
              kMaxAlignment);
}

Status check_place(const TensorInfo& tensor, uint64_t alignment, uint64_t data_bytes) {
  if (tensor.offset % alignment != 0) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' has offset {}, not a multiple of the alignment {}",
                printable(tensor.name), tensor.offset, alignment);
  }
  if (tensor.offset > data_bytes || tensor.bytes > data_bytes - tensor.offset) {
    return fail(ErrorCode::kCorrupt,
                "tensor '{}' needs {} bytes at offset {}, but the file has {} bytes of tensor data",
                printable(tensor.name), tensor.bytes, tensor.offset, data_bytes);
  }
  return {};
}

// Two tensors on the same bytes are a lie about at least one of them.
Status check_disjoint(const std::vector<TensorInfo>& tensors) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo &before = *by_offset[i - 1], &after = *by_offset[i];
    if (before.offset + before.bytes > after.offset) {
      return fail(ErrorCode::kCorrupt, "tensor '{}' at offset {} overlaps tensor '{}', which ends at {}",
                  printable(after.name), after.offset, printable(before.name), before.offset + before.bytes);
    }
  }
  return {};
}

Result<std::vector<Tensor>> place_tensors(std::span<const std::byte> data, std::vector<TensorInfo> infos,
                                          uint64_t alignment) {
  for (const TensorInfo& tensor : infos) LOCI_CHECK(check_place(tensor, alignment, data.size()));
  LOCI_CHECK(check_disjoint(infos));
  std::vector<Tensor> tensors;
  tensors.reserve(infos.size());
  for (TensorInfo& tensor : infos) {
    tensors.push_back(Tensor{.name = std::string(tensor.name),
                             .dtype = tensor.dtype,
                             .shape = std::move(tensor.shape),
                             .data = data.subspan(tensor.offset, tensor.bytes)});
  }
  return tensors;
}

}  // namespace

Result<GgufContent> parse_gguf(std::span<const std::byte> file) {
  GgufCursor cursor(file);
  GgufContent content;
  LOCI_TRY(content.version, read_version(cursor));
  LOCI_TRY(const uint64_t tensor_count, read_count(cursor, "the number of tensors"));
  LOCI_TRY(const uint64_t entry_count, read_count(cursor, "the number of metadata entries"));
  LOCI_TRY(content.metadata, read_metadata(cursor, entry_count));
  LOCI_TRY(std::vector<TensorInfo> infos, read_tensor_infos(cursor, tensor_count));
  LOCI_TRY(const uint64_t alignment, read_alignment(content.metadata));
  // A file without tensors may end before the padding that would precede them.
  const uint64_t data_start = std::min<uint64_t>(round_up(cursor.offset(), alignment), file.size());
  LOCI_TRY(content.tensors, place_tensors(file.subspan(data_start), std::move(infos), alignment));
  return content;
}

}  // namespace loci
