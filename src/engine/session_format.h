// The layout that writer and reader of saved sessions share. Little-endian machines only, which is all that Loci runs
// on.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace loci::session_format {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are mapped as they are");

inline constexpr char kMagic[8] = {'L', 'O', 'C', 'I', 'S', 'E', 'S', 'S'};
inline constexpr uint64_t kVersion = 1;
inline constexpr uint64_t kAlignment = 64;

struct Prelude {
  char magic[8] = {};
  uint64_t version = 0;
  uint64_t file_bytes = 0;
  uint64_t table_offset = 0;
  uint64_t table_bytes = 0;
  uint64_t table_checksum = 0;
  uint64_t reserved = 0;
  uint64_t checksum = 0;  // of the bytes before it
};
static_assert(sizeof(Prelude) == kAlignment && std::is_trivially_copyable_v<Prelude>);

}  // namespace loci::session_format
