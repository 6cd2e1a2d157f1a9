#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/checked.h"
#include "engine/session_file.h"
#include "engine/session_format.h"

namespace loci {
namespace {

using session_format::kAlignment;
using session_format::Prelude;

constexpr size_t kBufferBytes = 1 << 16;

Error system_error(const char* action, const std::string& path) {
  return fail(ErrorCode::kIo, "cannot {} '{}': {}", action, path, std::strerror(errno));
}

template <typename T>
void append_number(std::vector<std::byte>& out, T value) {
  const auto* bytes = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), bytes, bytes + sizeof(T));
}

void append_text(std::vector<std::byte>& out, std::string_view text) {
  append_number(out, static_cast<uint32_t>(text.size()));
  const auto bytes = std::as_bytes(std::span(text));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

Status check_text(const char* what, std::string_view text) {
  if (text.size() <= SessionLimits::kTextBytes) return {};
  return fail(ErrorCode::kLimit, "the session's {} has {} bytes, at most {} can be saved", what, text.size(),
              SessionLimits::kTextBytes);
}

// Makes a rename durable.
Status sync_folder_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return system_error("open folder", folder);
  const bool synced = ::fsync(file) == 0 || errno == EINVAL;  // some file systems know no sync of folders
  ::close(file);
  if (!synced) return system_error("sync folder", folder);
  return {};
}

}  // namespace

struct SessionWriter::Sink::Checksum {
  Checksum() : state(XXH3_createState()) {
    if (state != nullptr) XXH3_64bits_reset(state);
  }
  ~Checksum() { XXH3_freeState(state); }
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  XXH3_state_t* state;
};

SessionWriter::Sink::Sink(SessionWriter& writer, std::string_view name, uint64_t bytes)
    : writer_(writer), name_(name), bytes_(bytes), left_(bytes), checksum_(std::make_unique<Checksum>()) {}

SessionWriter::Sink::~Sink() = default;

Status SessionWriter::Sink::write(std::span<const std::byte> bytes) {
  if (bytes.size() > left_) {
    return fail(ErrorCode::kInternal, "section '{}' was announced with {} bytes and gets more", name_, bytes_);
  }
  left_ -= bytes.size();
  XXH3_64bits_update(checksum_->state, bytes.data(), bytes.size());
  return writer_.append(bytes);
}

SessionWriter::SessionWriter(std::string path, SessionHeader header)
    : path_(std::move(path)), header_(std::move(header)) {}

SessionWriter::SessionWriter(SessionWriter&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      file_(std::exchange(other.file_, -1)),
      header_(std::move(other.header_)),
      sections_(std::move(other.sections_)),
      buffer_(std::move(other.buffer_)),
      offset_(other.offset_) {}

SessionWriter::~SessionWriter() { abandon(); }

void SessionWriter::abandon() {
  if (file_ >= 0) ::close(std::exchange(file_, -1));
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

Result<SessionWriter> SessionWriter::begin(const std::string& path, SessionHeader header) {
  LOCI_CHECK(check_text("model fingerprint", header.model));
  LOCI_CHECK(check_text("plan", header.plan));
  if (header.tokens.size() > SessionLimits::kTokens) {
    return fail(ErrorCode::kLimit, "the session has {} tokens, at most {} can be saved", header.tokens.size(),
                SessionLimits::kTokens);
  }
  SessionWriter writer(path, std::move(header));
  std::string name = path + ".XXXXXX";
  writer.file_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (writer.file_ < 0) return system_error("create", name);
  writer.temporary_ = std::move(name);
  writer.buffer_.reserve(kBufferBytes);
  static constexpr std::byte kRoom[sizeof(Prelude)] = {};  // zero until commit()
  LOCI_CHECK(writer.append(kRoom));
  return writer;
}

Status SessionWriter::section(std::string_view name, uint64_t bytes, const std::function<Status(Sink&)>& fill) {
  LOCI_CHECK(check_text("section name", name));
  if (sections_.size() >= SessionLimits::kSections) {
    return fail(ErrorCode::kLimit, "a session file holds at most {} sections", SessionLimits::kSections);
  }
  for (const Entry& entry : sections_) {
    if (entry.name == name) return fail(ErrorCode::kInternal, "section '{}' is written twice", name);
  }
  LOCI_CHECK(align());
  Entry entry{std::string(name), offset_, bytes, 0};
  Sink sink(*this, entry.name, bytes);
  if (sink.checksum_->state == nullptr) return fail(ErrorCode::kLimit, "no memory for a checksum");
  LOCI_CHECK(fill(sink));
  if (sink.left_ != 0) {
    return fail(ErrorCode::kInternal, "section '{}' was announced with {} bytes and {} are missing", name, bytes,
                sink.left_);
  }
  entry.checksum = XXH3_64bits_digest(sink.checksum_->state);
  sections_.push_back(std::move(entry));
  return {};
}

Status SessionWriter::section(std::string_view name, std::span<const std::byte> bytes) {
  return section(name, bytes.size(), [&](Sink& sink) { return sink.write(bytes); });
}

Status SessionWriter::commit() {
  LOCI_CHECK(align());
  const std::vector<std::byte> contents = table();
  Prelude prelude;
  std::memcpy(prelude.magic, session_format::kMagic, sizeof(prelude.magic));
  prelude.version = session_format::kVersion;
  prelude.table_offset = offset_;
  prelude.table_bytes = contents.size();
  prelude.table_checksum = XXH3_64bits(contents.data(), contents.size());
  prelude.file_bytes = offset_ + contents.size();
  prelude.checksum = XXH3_64bits(&prelude, offsetof(Prelude, checksum));
  LOCI_CHECK(append(contents));
  LOCI_CHECK(flush());
  if (::lseek(file_, 0, SEEK_SET) != 0) return system_error("write", temporary_);
  LOCI_CHECK(put(reinterpret_cast<const std::byte*>(&prelude), sizeof(prelude)));
  if (::fsync(file_) != 0) return system_error("sync", temporary_);
  if (::close(std::exchange(file_, -1)) != 0) return system_error("close", temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const Error error = system_error("rename a temporary file to", path_);
    abandon();
    return error;
  }
  temporary_.clear();
  return sync_folder_of(path_);
}

std::vector<std::byte> SessionWriter::table() const {
  std::vector<std::byte> out;
  append_text(out, header_.model);
  append_text(out, header_.plan);
  append_number(out, static_cast<uint32_t>(header_.tokens.size()));
  const auto tokens = std::as_bytes(std::span(header_.tokens));
  out.insert(out.end(), tokens.begin(), tokens.end());
  append_number(out, static_cast<uint32_t>(sections_.size()));
  for (const Entry& entry : sections_) {
    append_text(out, entry.name);
    append_number(out, entry.offset);
    append_number(out, entry.bytes);
    append_number(out, entry.checksum);
  }
  return out;
}

Status SessionWriter::align() {
  static constexpr std::byte kZeros[kAlignment] = {};
  return append(std::span(kZeros).first(round_up(offset_, kAlignment) - offset_));
}

Status SessionWriter::append(std::span<const std::byte> bytes) {
  if (file_ < 0) return fail(ErrorCode::kInternal, "the session file '{}' is written after its end", path_);
  offset_ += bytes.size();
  if (buffer_.size() + bytes.size() > kBufferBytes) LOCI_CHECK(flush());
  if (bytes.size() > kBufferBytes) return put(bytes.data(), bytes.size());
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return {};
}

Status SessionWriter::flush() {
  LOCI_CHECK(put(buffer_.data(), buffer_.size()));
  buffer_.clear();
  return {};
}

Status SessionWriter::put(const std::byte* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = ::write(file_, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_error("write", temporary_);
    data += written;
    bytes -= static_cast<size_t>(written);
  }
  return {};
}

}  // namespace loci
