// Builds safetensors files for tests, from a header text and so many bytes of data.
#pragma once

#include <optional>
#include <string>

#include "io/gguf_writer.h"

namespace loci {

inline std::vector<std::byte> safetensors_file(std::string_view header, size_t data_bytes,
                                               std::optional<uint64_t> header_length = std::nullopt) {
  ByteWriter out;
  out.put<uint64_t>(header_length.value_or(header.size())).raw(header).zeros(data_bytes);
  return out.bytes();
}

// A header entry: safetensors_entry("w", "F32", "[2, 3]", 0, 24).
inline std::string safetensors_entry(std::string_view name, std::string_view format, std::string_view shape,
                                     uint64_t begin, uint64_t end) {
  return "\"" + std::string(name) + "\": {\"dtype\": \"" + std::string(format) +
         "\", \"shape\": " + std::string(shape) + ", \"data_offsets\": [" + std::to_string(begin) + ", " +
         std::to_string(end) + "]}";
}

}  // namespace loci
