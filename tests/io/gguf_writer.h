// Builds GGUF files for tests, right or wrong on purpose: every count and offset can be given a false value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace loci {

class ByteWriter {
 public:
  template <typename T>
  ByteWriter& put(T value) {
    return add(&value, sizeof value);
  }
  ByteWriter& raw(std::string_view text) { return add(text.data(), text.size()); }
  ByteWriter& string(std::string_view text) { return put<uint64_t>(text.size()).raw(text); }
  ByteWriter& append(const ByteWriter& other) { return add(other.bytes_.data(), other.bytes_.size()); }
  ByteWriter& zeros(size_t count);
  ByteWriter& pad(size_t alignment) { return zeros((alignment - bytes_.size() % alignment) % alignment); }
  size_t size() const { return bytes_.size(); }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  // Not inline: GCC 12 warns of overflows that cannot be when it inlines a vector's growth into a test.
  ByteWriter& add(const void* data, size_t count);

  std::vector<std::byte> bytes_;
};

struct GgufWriter {
  enum Type : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::optional<uint64_t> entry_count, tensor_count;  // false counts
  size_t data_bytes = 0;                              // of all tensors added with `tensor`

  ByteWriter& entry(std::string_view key, uint32_t type) {
    ++entries_;
    return metadata_.string(key).put<uint32_t>(type);
  }
  GgufWriter& u32(std::string_view key, uint32_t value) {
    entry(key, kU32).put(value);
    return *this;
  }
  GgufWriter& text(std::string_view key, std::string_view value) {
    entry(key, kString).string(value);
    return *this;
  }
  ByteWriter& array(std::string_view key, uint32_t type, uint64_t count) {
    return entry(key, kArray).put<uint32_t>(type).put<uint64_t>(count);
  }
  GgufWriter& strings(std::string_view key, const std::vector<std::string>& values) {
    ByteWriter& out = array(key, kString, values.size());
    for (const std::string& value : values) out.string(value);
    return *this;
  }

  // `extents` innermost first, as the format has them.
  GgufWriter& info(std::string_view name, const std::vector<uint64_t>& extents, uint32_t type, uint64_t offset) {
    ++tensors_;
    infos_.string(name).put<uint32_t>(static_cast<uint32_t>(extents.size()));
    for (const uint64_t extent : extents) infos_.put(extent);
    infos_.put(type).put(offset);
    return *this;
  }
  // A tensor after the ones before it.
  GgufWriter& tensor(std::string_view name, const std::vector<uint64_t>& extents, uint32_t type, size_t bytes) {
    const size_t offset = (data_bytes + alignment - 1) / alignment * alignment;
    info(name, extents, type, offset);
    data_bytes = offset + bytes;
    return *this;
  }

  std::vector<std::byte> bytes() const {
    ByteWriter out;
    out.put(magic)
        .put(version)
        .put<uint64_t>(tensor_count.value_or(tensors_))
        .put<uint64_t>(entry_count.value_or(entries_));
    out.append(metadata_).append(infos_);
    if (data_bytes > 0) out.pad(alignment).zeros(data_bytes);
    return out.bytes();
  }

 private:
  ByteWriter metadata_, infos_;
  uint64_t entries_ = 0, tensors_ = 0;
};

}  // namespace loci
