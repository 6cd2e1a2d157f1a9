// Blocks of a prompt on disk: a saved-session container (session_file.h) that holds consecutive blocks of 64 tokens.
//
// The header has the model's fingerprint, a digest of what must agree besides the tokens (plan, request data, salt),
// and all tokens up to the end of the last block. Of block B, "block/B/stripes" has the pages of each of its stripes,
// table by table and layer by layer (0: given back), and "block/B/pages" those pages as the store encodes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/session_file.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

struct BlockCopy {
  std::vector<uint32_t> stripes;  // pages of each
  std::vector<std::byte> pages;
};

struct SnapshotFile {
  SessionHeader header;
  uint32_t first = 0;  // block
  std::vector<BlockCopy> blocks;

  uint64_t bytes() const;  // about what it takes on disk
};

// What one stripe of a plan's layout looks like.
struct StripeShape {
  const PageLayout* page = nullptr;
  uint32_t heads = 0;
};

// Whole or not at all; kIo if the disk does not take it.
Status write_snapshot(const std::string& path, const SnapshotFile& file);

// The blocks of a file, whose sections' names say which: consecutive ones, up to the end of the tokens. kCorrupt if
// not.
struct SnapshotRange {
  uint32_t first = 0;
  uint32_t count = 0;
};
Result<SnapshotRange> snapshot_range(const SessionReader& reader);

// Block `block` of the file, checked against the stripes that the layout has: as many, each whole or given back, and
// no number in a page that is not finite.
struct BlockView {
  std::vector<uint32_t> stripes;
  std::span<const std::byte> pages;
};
Result<BlockView> read_block(const SessionReader& reader, uint32_t block, std::span<const StripeShape> shapes);

}  // namespace loci
