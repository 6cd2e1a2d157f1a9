// A place in the bytes of a GGUF file that only moves forward and never past the end. Errors name the field that did
// not fit.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/error.h"
#include "io/printable.h"

namespace loci {

class GgufCursor {
 public:
  explicit GgufCursor(std::span<const std::byte> file) : file_(file) {}

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return file_.size() - offset_; }

  template <typename T>
  Result<T> scalar(std::string_view field) {
    if (remaining() < sizeof(T)) return ends_inside(field, sizeof(T));
    T value;
    std::memcpy(&value, file_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  // A 64-bit length, then that many bytes.
  Result<std::string_view> string(std::string_view field) {
    LOCI_TRY(const uint64_t length, scalar<uint64_t>(field));
    LOCI_TRY(const std::span<const std::byte> bytes, take(length, field));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  Result<std::span<const std::byte>> take(uint64_t length, std::string_view field) {
    if (remaining() < length) return ends_inside(field, length);
    const auto bytes = file_.subspan(offset_, length);
    offset_ += length;
    return bytes;
  }

 private:
  Error ends_inside(std::string_view field, uint64_t wanted) const {
    return fail(ErrorCode::kCorrupt, "{} needs {} bytes at offset {}, but the file has {} left", printable(field),
                wanted, offset_, remaining());
  }

  std::span<const std::byte> file_;
  uint64_t offset_ = 0;
};

}  // namespace loci
