#include "io/gguf_value.h"

#include <limits>
#include <type_traits>

#include "io/gguf_types.h"

namespace loci {
namespace {

// Calls visit(T{}) with the C++ type of a numeric GGUF type.
template <typename Visit>
Result<MetaValue> with_number_type(GgufType type, std::string_view key, Visit&& visit) {
  switch (type) {
    case GgufType::kUint8:
      return visit(uint8_t{});
    case GgufType::kInt8:
      return visit(int8_t{});
    case GgufType::kUint16:
      return visit(uint16_t{});
    case GgufType::kInt16:
      return visit(int16_t{});
    case GgufType::kUint32:
      return visit(uint32_t{});
    case GgufType::kInt32:
      return visit(int32_t{});
    case GgufType::kUint64:
      return visit(uint64_t{});
    case GgufType::kInt64:
      return visit(int64_t{});
    case GgufType::kFloat32:
      return visit(float{});
    case GgufType::kFloat64:
      return visit(double{});
    default:
      return fail(ErrorCode::kCorrupt, "metadata key '{}' has value type {}, the highest known is {}", printable(key),
                  static_cast<uint32_t>(type), static_cast<uint32_t>(GgufType::kFloat64));
  }
}

template <typename T>
MetaValue widen(T value) {
  if constexpr (std::is_floating_point_v<T>)
    return static_cast<double>(value);
  else if constexpr (std::is_signed_v<T>)
    return static_cast<int64_t>(value);
  else
    return static_cast<uint64_t>(value);
}

Result<bool> to_bool(uint8_t byte, std::string_view key) {
  if (byte <= 1) return byte == 1;
  return fail(ErrorCode::kCorrupt, "metadata key '{}' is a boolean with value {}, only 0 and 1 are allowed",
              printable(key), byte);
}

// `count` elements of at least `element_bytes` each must still fit in the file.
Status check_elements(const GgufCursor& cursor, std::string_view key, uint64_t count, uint64_t element_bytes) {
  if (count <= cursor.remaining() / element_bytes) return {};
  return fail(ErrorCode::kCorrupt,
              "metadata key '{}' has {} array elements of at least {} bytes each, but the file has {} bytes left",
              printable(key), count, element_bytes, cursor.remaining());
}

template <typename T>
Result<MetaValue> read_number_array(GgufCursor& cursor, std::string_view key, uint64_t count) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
  LOCI_CHECK(check_elements(cursor, key, count, sizeof(T)));
  LOCI_TRY(const std::span<const std::byte> bytes, cursor.take(count * sizeof(T), key));
  std::vector<Wide> values(count);
  for (uint64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return fail(ErrorCode::kUnsupported, "element {} of metadata key '{}' is {}, above the limit of 2^63 - 1", i,
                    printable(key), value);
      }
    }
    values[i] = static_cast<Wide>(value);
  }
  return MetaValue(std::move(values));
}

Result<MetaValue> read_bool_array(GgufCursor& cursor, std::string_view key, uint64_t count) {
  LOCI_TRY(const std::span<const std::byte> bytes, cursor.take(count, key));
  std::vector<bool> values(count);
  for (uint64_t i = 0; i < count; ++i) {
    LOCI_TRY(values[i], to_bool(std::to_integer<uint8_t>(bytes[i]), key));
  }
  return MetaValue(std::move(values));
}

// Walks the array once before allocating: only strings that are really there cost memory.
Result<MetaValue> read_string_array(GgufCursor& cursor, std::string_view key, uint64_t count) {
  LOCI_CHECK(check_elements(cursor, key, count, sizeof(uint64_t)));
  GgufCursor ahead = cursor;
  for (uint64_t i = 0; i < count; ++i) LOCI_CHECK(ahead.string(key));
  std::vector<std::string> values;
  values.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    LOCI_TRY(const std::string_view text, cursor.string(key));
    values.emplace_back(text);
  }
  return MetaValue(std::move(values));
}

Result<MetaValue> read_array(GgufCursor& cursor, std::string_view key) {
  LOCI_TRY(const uint32_t number, cursor.scalar<uint32_t>(key));
  const GgufType type{number};
  LOCI_TRY(const uint64_t count, cursor.scalar<uint64_t>(key));
  if (type == GgufType::kArray) {
    return fail(ErrorCode::kUnsupported, "metadata key '{}' is an array of arrays, which no known key is",
                printable(key));
  }
  if (type == GgufType::kString) return read_string_array(cursor, key, count);
  if (type == GgufType::kBool) return read_bool_array(cursor, key, count);
  return with_number_type(type, key, [&]<typename T>(T) { return read_number_array<T>(cursor, key, count); });
}

}  // namespace

Result<MetaValue> read_gguf_value(GgufCursor& cursor, std::string_view key) {
  LOCI_TRY(const uint32_t number, cursor.scalar<uint32_t>(key));
  const GgufType type{number};
  if (type == GgufType::kArray) return read_array(cursor, key);
  if (type == GgufType::kString) {
    LOCI_TRY(const std::string_view text, cursor.string(key));
    return MetaValue(std::string(text));
  }
  if (type == GgufType::kBool) {
    LOCI_TRY(const uint8_t byte, cursor.scalar<uint8_t>(key));
    LOCI_TRY(const bool flag, to_bool(byte, key));
    return MetaValue(flag);
  }
  return with_number_type(type, key, [&]<typename T>(T) -> Result<MetaValue> {
    LOCI_TRY(const T value, cursor.scalar<T>(key));
    return widen(value);
  });
}

}  // namespace loci
