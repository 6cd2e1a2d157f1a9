// A session file of any bytes, with magic, version and the checksums of prelude and table set right: no fuzzer guesses
// them. What is shorter than a prelude stays as it is.
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/session_format.h"

namespace loci {

inline std::vector<std::byte> sealed_session(const uint8_t* data, size_t size) {
  using session_format::Prelude;
  std::vector<std::byte> file(size);
  if (size > 0) std::memcpy(file.data(), data, size);
  Prelude prelude;
  if (size < sizeof(prelude)) return file;
  std::memcpy(&prelude, file.data(), sizeof(prelude));
  std::memcpy(prelude.magic, session_format::kMagic, sizeof(prelude.magic));
  prelude.version = session_format::kVersion;
  prelude.reserved = 0;
  prelude.file_bytes = size;
  prelude.table_offset %= size + 1;
  prelude.table_bytes = size - prelude.table_offset;
  prelude.table_checksum = XXH3_64bits(file.data() + prelude.table_offset, prelude.table_bytes);
  prelude.checksum = XXH3_64bits(&prelude, offsetof(Prelude, checksum));
  std::memcpy(file.data(), &prelude, sizeof(prelude));
  return file;
}

}  // namespace loci
