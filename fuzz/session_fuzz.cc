// Saved sessions: whatever the bytes say, the reader stays within them. Checksums are set right first, since no fuzzer
// guesses them.
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/assert.h"
#include "engine/session_file.h"
#include "engine/session_format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using loci::session_format::Prelude;
  std::vector<std::byte> file(size);
  if (size > 0) std::memcpy(file.data(), data, size);
  Prelude prelude;
  if (size >= sizeof(prelude)) {
    std::memcpy(&prelude, file.data(), sizeof(prelude));
    std::memcpy(prelude.magic, loci::session_format::kMagic, sizeof(prelude.magic));
    prelude.version = loci::session_format::kVersion;
    prelude.reserved = 0;
    prelude.file_bytes = size;
    prelude.table_offset %= size + 1;
    prelude.table_bytes = size - prelude.table_offset;
    prelude.table_checksum = XXH3_64bits(file.data() + prelude.table_offset, prelude.table_bytes);
    prelude.checksum = XXH3_64bits(&prelude, offsetof(Prelude, checksum));
    std::memcpy(file.data(), &prelude, sizeof(prelude));
  }
  const auto reader = loci::SessionReader::parse(file);
  if (!reader.ok()) return 0;
  for (const auto& section : reader->sections()) {
    LOCI_ASSERT(section.data.empty() || (section.data.data() >= file.data() &&
                                         section.data.data() + section.data.size() <= file.data() + file.size()),
                "sections lie within the file");
  }
  return 0;
}
