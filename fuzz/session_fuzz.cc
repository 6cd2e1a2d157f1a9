// Saved sessions: whatever the bytes say, the reader stays within them. Checksums are set right first, since no fuzzer
// guesses them.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "engine/session_file.h"
#include "sealed_session.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::byte> file = loci::sealed_session(data, size);
  const auto reader = loci::SessionReader::parse(file);
  if (!reader.ok()) return 0;
  for (const auto& section : reader->sections()) {
    LOCI_ASSERT(section.data.empty() || (section.data.data() >= file.data() &&
                                         section.data.data() + section.data.size() <= file.data() + file.size()),
                "sections lie within the file");
  }
  return 0;
}
