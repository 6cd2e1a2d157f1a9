// Blocks of prompts on disk: whatever the bytes say, their reader stays within them and hands out none that does not
// fit the layout. Checksums of prelude and table are set right first, those of the sections are not asked for.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "engine/snapshot_file.h"
#include "sealed_session.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::byte> file = loci::sealed_session(data, size);
  const auto reader = loci::SessionReader::parse(file, loci::SessionCheck::kTable);
  if (!reader.ok()) return 0;
  const auto range = loci::snapshot_range(*reader);
  if (!range.ok()) return 0;
  static const loci::PageLayout kv16 = loci::page_layout(loci::KvCodec::kKv16, 4);
  static const loci::PageLayout kv4 = loci::page_layout(loci::KvCodec::kKv4, 4);
  const loci::StripeShape shapes[] = {{&kv16, 1}, {&kv4, 2}};
  for (uint32_t b = range->first; b < range->first + range->count; ++b) {
    const auto block = loci::read_block(*reader, b, shapes);
    if (!block.ok()) continue;
    LOCI_ASSERT(block->pages.empty() || (block->pages.data() >= file.data() &&
                                         block->pages.data() + block->pages.size() <= file.data() + file.size()),
                "pages lie within the file");
    LOCI_ASSERT(block->pages.size() == block->stripes[0] * kv16.bytes + block->stripes[1] * kv4.bytes,
                "a block has the pages that its stripes name");
  }
  return 0;
}
