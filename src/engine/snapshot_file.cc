#include "engine/snapshot_file.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

std::string section_of(uint32_t block, const char* what) { return fmt::format("block/{}/{}", block, what); }

}  // namespace

uint64_t SnapshotFile::bytes() const {
  uint64_t out = header.tokens.size() * sizeof(TokenId) + 4096;
  for (const BlockCopy& block : blocks) out += block.pages.size() + block.stripes.size() * sizeof(uint32_t) + 256;
  return out;
}

Status write_snapshot(const std::string& path, const SnapshotFile& file) {
  LOCI_TRY(SessionWriter writer, SessionWriter::begin(path, file.header));
  for (uint32_t i = 0; i < file.blocks.size(); ++i) {
    const BlockCopy& block = file.blocks[i];
    LOCI_CHECK(writer.section(section_of(file.first + i, "stripes"), std::as_bytes(std::span(block.stripes))));
    LOCI_CHECK(writer.section(section_of(file.first + i, "pages"), block.pages));
  }
  return writer.commit();
}

Result<SnapshotRange> snapshot_range(const SessionReader& reader) {
  const auto end = static_cast<uint32_t>(reader.header().tokens.size() / kPageSlots);
  const auto count = static_cast<uint32_t>(reader.sections().size() / 2);
  if (reader.header().tokens.size() % kPageSlots != 0 || reader.sections().size() % 2 != 0 || count == 0 || count > end)
    return fail(ErrorCode::kCorrupt, "{} sections and {} tokens make no blocks", reader.sections().size(),
                reader.header().tokens.size());
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t block = end - count + i;
    if (reader.sections()[2 * i].name != section_of(block, "stripes") ||
        reader.sections()[2 * i + 1].name != section_of(block, "pages")) {
      return fail(ErrorCode::kCorrupt, "section {} is not of block {}", 2 * i, block);
    }
  }
  return SnapshotRange{.first = end - count, .count = count};
}

Result<BlockView> read_block(const SessionReader& reader, uint32_t block, std::span<const StripeShape> shapes) {
  LOCI_TRY(const std::span<const std::byte> words,
           reader.section(section_of(block, "stripes"), shapes.size() * sizeof(uint32_t)));
  BlockView out;
  out.stripes.resize(shapes.size());
  std::memcpy(out.stripes.data(), words.data(), words.size());
  uint64_t bytes = 0;
  for (size_t s = 0; s < shapes.size(); ++s) {
    if (out.stripes[s] != 0 && out.stripes[s] != shapes[s].heads) {
      return fail(ErrorCode::kCorrupt, "stripe {} of block {} has {} pages, but its table {} heads", s, block,
                  out.stripes[s], shapes[s].heads);
    }
    bytes += uint64_t{out.stripes[s]} * shapes[s].page->bytes;
  }
  LOCI_TRY(out.pages, reader.section(section_of(block, "pages"), bytes));
  const std::byte* page = out.pages.data();
  for (size_t s = 0; s < shapes.size(); ++s) {
    for (uint32_t p = 0; p < out.stripes[s]; ++p, page += shapes[s].page->bytes) {
      if (!page_is_finite(*shapes[s].page, page))
        return fail(ErrorCode::kCorrupt, "block {} has a page with a number that is not finite", block);
    }
  }
  return out;
}

}  // namespace loci
