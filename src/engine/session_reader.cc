#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "engine/session_file.h"
#include "engine/session_format.h"

namespace loci {

using session_format::kAlignment;
using session_format::Prelude;

struct SessionReader::Mapping {
  explicit Mapping(std::span<std::byte> mapped) : bytes(mapped) {}
  ~Mapping() { ::munmap(bytes.data(), bytes.size()); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::span<std::byte> bytes;
};

namespace {

constexpr auto kCorrupt = ErrorCode::kCorrupt;

// Gives whole pages within `bytes` of a mapping back to the system; they are read again from the file if touched.
void drop_pages(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t end = (begin + bytes.size()) / page * page;
  if (first < end) ::madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
}

// XXH3-64 in pieces that leave the resident set when they are done, so that checking gigabytes keeps none of them.
uint64_t checksum(std::span<const std::byte> bytes, bool mapped) {
  constexpr size_t kPiece = size_t{8} << 20;
  if (bytes.size() <= kPiece) return XXH3_64bits(bytes.data(), bytes.size());
  const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    const auto piece = bytes.subspan(at, std::min(kPiece, bytes.size() - at));
    XXH3_64bits_update(state.get(), piece.data(), piece.size());
    if (mapped) drop_pages(piece);
  }
  return XXH3_64bits_digest(state.get());
}

// Takes numbers and texts from the front of the table.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : left_(bytes) {}

  template <typename T>
  Result<T> number(const char* field) {
    if (left_.size() < sizeof(T)) return ends_within(field);
    T value;
    std::memcpy(&value, left_.data(), sizeof(T));
    left_ = left_.subspan(sizeof(T));
    return value;
  }

  Result<std::string> text(const char* field) {
    LOCI_TRY(const uint32_t bytes, number<uint32_t>(field));
    if (bytes > SessionLimits::kTextBytes) {
      return fail(kCorrupt, "the {} has {} bytes, at most {} are allowed", field, bytes, SessionLimits::kTextBytes);
    }
    if (bytes > left_.size()) return ends_within(field);
    std::string out(reinterpret_cast<const char*>(left_.data()), bytes);
    left_ = left_.subspan(bytes);
    return out;
  }

  Result<std::vector<TokenId>> tokens() {
    LOCI_TRY(const uint32_t count, number<uint32_t>("token count"));
    if (count > SessionLimits::kTokens || count > left_.size() / sizeof(TokenId)) {
      return fail(kCorrupt, "the table names {} tokens, {} bytes of it are left", count, left_.size());
    }
    std::vector<TokenId> out(count);
    if (count > 0) std::memcpy(out.data(), left_.data(), count * sizeof(TokenId));
    left_ = left_.subspan(count * sizeof(TokenId));
    const auto negative = std::find_if(out.begin(), out.end(), [](TokenId id) { return id < 0; });
    if (negative != out.end()) {
      return fail(kCorrupt, "token {} is {}, a token is 0 or more", negative - out.begin(), *negative);
    }
    return out;
  }

  size_t left() const { return left_.size(); }

 private:
  Error ends_within(const char* field) const {
    return fail(kCorrupt, "the table ends within the {}, {} bytes are left", field, left_.size());
  }
  std::span<const std::byte> left_;
};

Result<Prelude> read_prelude(std::span<const std::byte> file) {
  if (file.size() < sizeof(Prelude)) {
    return fail(kCorrupt, "the file has {} bytes, the prelude alone needs {}", file.size(), sizeof(Prelude));
  }
  Prelude prelude;
  std::memcpy(&prelude, file.data(), sizeof(prelude));
  if (std::memcmp(prelude.magic, session_format::kMagic, sizeof(prelude.magic)) != 0) {
    return fail(kCorrupt, "the file does not begin with 'LOCISESS': it is no saved session");
  }
  if (prelude.version != session_format::kVersion) {
    return fail(ErrorCode::kUnsupported, "the file has format version {}, this build reads version {}", prelude.version,
                session_format::kVersion);
  }
  if (prelude.checksum != XXH3_64bits(file.data(), offsetof(Prelude, checksum)) || prelude.reserved != 0) {
    return fail(kCorrupt, "the checksum of the prelude does not match its bytes");
  }
  if (prelude.file_bytes != file.size()) {
    return fail(kCorrupt, "the file has {} bytes, {} were written", file.size(), prelude.file_bytes);
  }
  const auto end = checked_add(prelude.table_offset, prelude.table_bytes);
  if (!end || *end != file.size() || prelude.table_offset < sizeof(Prelude)) {
    return fail(kCorrupt, "the table lies at {} with {} bytes, which is not the end of {} bytes", prelude.table_offset,
                prelude.table_bytes, file.size());
  }
  return prelude;
}

// The gap between `end` and the next section or the table, at `next`.
Status check_gap(std::span<const std::byte> file, uint64_t end, uint64_t next, std::string_view what) {
  if (next < end || next - end >= kAlignment || next % kAlignment != 0) {
    return fail(kCorrupt, "{} lies at {}, the bytes before it end at {}", what, next, end);
  }
  const auto gap = file.subspan(end, next - end);
  if (std::all_of(gap.begin(), gap.end(), [](std::byte b) { return b == std::byte{0}; })) return {};
  return fail(kCorrupt, "the bytes from {} to {}, before {}, are not zero", end, next, what);
}

}  // namespace

SessionReader::SessionReader() = default;
SessionReader::SessionReader(SessionReader&&) noexcept = default;
SessionReader& SessionReader::operator=(SessionReader&&) noexcept = default;
SessionReader::~SessionReader() = default;

Result<SessionReader> SessionReader::open(const std::string& path, SessionCheck check) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot open session '{}': {}", path,
                std::strerror(errno));
  }
  struct stat info = {};
  const bool known = ::fstat(file, &info) == 0;
  void* bytes = MAP_FAILED;
  if (known && S_ISREG(info.st_mode) && info.st_size > 0) {
    bytes = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
  }
  const int error = errno;
  ::close(file);
  if (!known || (bytes == MAP_FAILED && S_ISREG(info.st_mode) && info.st_size > 0)) {
    return fail(ErrorCode::kIo, "cannot map session '{}': {}", path, std::strerror(error));
  }
  if (bytes == MAP_FAILED) return fail(kCorrupt, "session '{}' is empty or no regular file", path);
  auto mapping =
      std::make_unique<Mapping>(std::span(static_cast<std::byte*>(bytes), static_cast<size_t>(info.st_size)));
  auto reader = read(mapping->bytes, true, check);
  if (!reader.ok()) return fail(reader.error().code, "session '{}': {}", path, reader.error().message);
  reader->mapping_ = std::move(mapping);
  return reader;
}

Result<SessionReader> SessionReader::parse(std::span<const std::byte> file, SessionCheck check) {
  return read(file, false, check);
}

Result<SessionReader> SessionReader::read(std::span<const std::byte> file, bool mapped, SessionCheck check) {
  LOCI_TRY(const Prelude prelude, read_prelude(file));
  const auto table = file.subspan(prelude.table_offset);
  if (checksum(table, false) != prelude.table_checksum) {
    return fail(kCorrupt, "the checksum of the table does not match its {} bytes", table.size());
  }
  SessionReader reader;
  Cursor cursor(table);
  LOCI_TRY(reader.header_.model, cursor.text("model fingerprint"));
  LOCI_TRY(reader.header_.plan, cursor.text("plan"));
  LOCI_TRY(reader.header_.tokens, cursor.tokens());
  LOCI_TRY(const uint32_t count, cursor.number<uint32_t>("section count"));
  if (count > SessionLimits::kSections) {
    return fail(kCorrupt, "the table names {} sections, at most {} are allowed", count, SessionLimits::kSections);
  }
  uint64_t end = sizeof(Prelude);
  for (uint32_t i = 0; i < count; ++i) {
    LOCI_TRY(std::string name, cursor.text("section name"));
    LOCI_TRY(const uint64_t offset, cursor.number<uint64_t>("section offset"));
    LOCI_TRY(const uint64_t bytes, cursor.number<uint64_t>("section size"));
    LOCI_TRY(const uint64_t sum, cursor.number<uint64_t>("section checksum"));
    const auto section_end = checked_add(offset, bytes);
    if (!section_end || *section_end > prelude.table_offset) {
      return fail(kCorrupt, "section '{}' lies at {} with {} bytes, the sections end at {}", name, offset, bytes,
                  prelude.table_offset);
    }
    LOCI_CHECK(check_gap(file, end, offset, fmt::format("section '{}'", name)));
    const auto data = file.subspan(offset, bytes);
    if (check == SessionCheck::kAll && checksum(data, mapped) != sum) {
      return fail(kCorrupt, "the checksum of section '{}' does not match its {} bytes", name, bytes);
    }
    reader.sections_.push_back({std::move(name), data});
    end = *section_end;
  }
  if (cursor.left() != 0) return fail(kCorrupt, "the table has {} bytes too many", cursor.left());
  LOCI_CHECK(check_gap(file, end, prelude.table_offset, "the table"));
  return reader;
}

Status SessionReader::expect(std::string_view model, std::string_view plan) const {
  if (header_.model != model) {
    return fail(ErrorCode::kInvalidArgument, "the session was saved with model {}, this engine runs {}", header_.model,
                model);
  }
  if (header_.plan != plan) {
    return fail(ErrorCode::kInvalidArgument, "the session was saved with plan '{}', this engine runs '{}'",
                header_.plan, plan);
  }
  return {};
}

Result<std::span<const std::byte>> SessionReader::section(std::string_view name) const {
  const auto found = std::find_if(sections_.begin(), sections_.end(), [&](const Section& s) { return s.name == name; });
  if (found == sections_.end()) return fail(kCorrupt, "the session has no section '{}'", name);
  return found->data;
}

Result<std::span<const std::byte>> SessionReader::section(std::string_view name, uint64_t bytes) const {
  LOCI_TRY(const auto data, section(name));
  if (data.size() == bytes) return data;
  return fail(kCorrupt, "section '{}' has {} bytes, {} are expected", name, data.size(), bytes);
}

void SessionReader::release(std::span<const std::byte> data) const {
  if (mapping_) drop_pages(data);
}

}  // namespace loci
