#include "engine/snapshots.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/log.h"

namespace loci {
namespace {

constexpr std::string_view kSuffix = ".kv";
constexpr uint32_t kMostFileBlocks = 16;
constexpr size_t kMostPending = 256;
constexpr std::chrono::seconds kPause{10};  // after a failure to write

std::string hex_of(std::span<const unsigned char> bytes) {
  std::string out;
  for (const unsigned char byte : bytes) out += fmt::format("{:02x}", byte);
  return out;
}

std::array<unsigned char, 16> digest_of(std::span<const std::byte> first, std::span<const std::byte> second) {
  std::vector<std::byte> all(first.begin(), first.end());
  all.insert(all.end(), second.begin(), second.end());
  std::array<unsigned char, SHA256_DIGEST_LENGTH> whole;
  SHA256(reinterpret_cast<const unsigned char*>(all.data()), all.size(), whole.data());
  std::array<unsigned char, 16> out;
  std::copy_n(whole.begin(), out.size(), out.begin());
  return out;
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// What stands for plan, request data and salt in a file: no salt can be read from it.
std::string seal_of(const PrefixSeed& seed) { return hex_of(digest_of(bytes_of(identity(seed)), {})); }

}  // namespace

Snapshots::Snapshots(SnapshotOptions options, std::string model)
    : options_(std::move(options)), model_(std::move(model)), writer_([this] { write_files(); }) {}

Snapshots::~Snapshots() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  writer_.join();
}

Result<std::unique_ptr<Snapshots>> Snapshots::open(SnapshotOptions options, std::string model) {
  std::error_code error;
  std::filesystem::create_directories(options.folder, error);
  if (error) return fail(ErrorCode::kIo, "cannot make the folder '{}': {}", options.folder, error.message());
  if (::access(options.folder.c_str(), R_OK | W_OK | X_OK) != 0)
    return fail(ErrorCode::kIo, "cannot write to the folder '{}': {}", options.folder, std::strerror(errno));
  std::unique_ptr<Snapshots> out(new Snapshots(std::move(options), std::move(model)));
  LOCI_CHECK(out->scan());
  return out;
}

std::string Snapshots::path_of(const std::string& name) const { return options_.folder + '/' + name; }

// What an earlier run left. Tables are read, not what they describe.
Status Snapshots::scan() {
  std::error_code error;
  std::vector<std::pair<std::filesystem::file_time_type, File>> found;
  for (std::filesystem::directory_iterator at(options_.folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    const size_t suffix = name.rfind(kSuffix);
    if (suffix == std::string::npos || !at->is_regular_file()) continue;
    if (suffix + kSuffix.size() != name.size()) {  // a temporary one, of a run that was killed
      ::unlink(path_of(name).c_str());
      continue;
    }
    File file{.name = name, .bytes = at->file_size(), .blocks = {}};
    const Result<SessionReader> reader = SessionReader::open(path_of(name), SessionCheck::kTable);
    const Result<SnapshotRange> range = reader.ok() ? snapshot_range(*reader) : reader.error();
    if (!range.ok()) {
      log_message(LogLevel::kWarning, "the snapshot '{}' is skipped: {}", path_of(name), range.error().message);
      ++stats_.damaged;
      ::unlink(path_of(name).c_str());
      continue;
    }
    if (reader->header().model == model_) {
      // The digest begins with the seal, which is all that is known of the seed here.
      std::array<unsigned char, 16> at_block = digest_of(bytes_of(reader->header().plan), {});
      const auto tokens = std::as_bytes(std::span(reader->header().tokens));
      constexpr size_t kBlockBytes = kPageSlots * sizeof(TokenId);
      for (uint32_t b = 0; b < range->first + range->count; ++b) {
        at_block = digest_of(std::as_bytes(std::span(at_block)), tokens.subspan(b * kBlockBytes, kBlockBytes));
        if (b >= range->first) file.blocks.push_back(at_block);
      }
    }
    found.emplace_back(at->last_write_time(), std::move(file));
  }
  if (error) return fail(ErrorCode::kIo, "cannot read the folder '{}': {}", options_.folder, error.message());
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [time, file] : found) {
    files_.push_front(std::move(file));
    add(files_.begin());
  }
  make_room(0);
  return {};
}

std::vector<Snapshots::Digest> Snapshots::digests_of(const PrefixSeed& seed, std::span<const TokenId> tokens) {
  std::vector<Digest> out;
  Digest at = digest_of(bytes_of(seal_of(seed)), {});
  for (size_t b = 0; (b + 1) * kPageSlots <= tokens.size(); ++b) {
    at = digest_of(std::as_bytes(std::span(at)), std::as_bytes(tokens.subspan(b * kPageSlots, kPageSlots)));
    out.push_back(at);
  }
  return out;
}

void Snapshots::add(FileList::iterator file) {
  ++stats_.files;
  stats_.bytes += file->bytes;
  for (const Digest& block : file->blocks) by_block_.emplace(block, file);
}

void Snapshots::remove(FileList::iterator file) {
  for (const Digest& block : file->blocks) {
    const auto found = by_block_.find(block);
    if (found != by_block_.end() && found->second == file) by_block_.erase(found);
  }
  ::unlink(path_of(file->name).c_str());
  --stats_.files;
  stats_.bytes -= file->bytes;
  files_.erase(file);
}

// The files of these blocks were used: earlier blocks last, so that later ones go first.
void Snapshots::touch(std::span<const Digest> blocks) {
  for (size_t b = blocks.size(); b > 0; --b) {
    const auto found = by_block_.find(blocks[b - 1]);
    if (found == by_block_.end() || found->second == files_.begin()) continue;
    files_.splice(files_.begin(), files_, found->second);
    ::utimensat(AT_FDCWD, path_of(found->second->name).c_str(), nullptr, 0);
  }
}

void Snapshots::note(PrefixSeed seed, std::vector<TokenId> tokens) {
  tokens.resize(tokens.size() / kPageSlots * kPageSlots);
  if (tokens.empty()) return;
  std::vector<Digest> digests = digests_of(seed, tokens);
  if (pending_.size() >= kMostPending) pending_.pop_front();
  pending_.push_back({.seed = std::move(seed), .tokens = std::move(tokens), .digests = std::move(digests)});
}

bool Snapshots::tend(const Source& source) {
  std::optional<Job> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
    if (done) busy_ = false;
    if (busy_) return true;
  }
  if (done) take_in(std::move(*done));
  if (Clock::now() < retry_at_) return false;
  while (!pending_.empty()) {
    if (start(pending_.front(), source)) return true;
    pending_.pop_front();
  }
  return false;
}

void Snapshots::take_in(Job job) {
  if (!job.done.ok()) {
    ++stats_.failures;
    log_message(LogLevel::kWarning, "a snapshot cannot be written: {}; none is written for {} s",
                job.done.error().message, kPause.count());
    retry_at_ = Clock::now() + kPause;
    return;
  }
  struct stat about {};
  const uint64_t bytes = ::stat(path_of(job.name).c_str(), &about) == 0 ? static_cast<uint64_t>(about.st_size) : 0;
  stats_.blocks_written += job.blocks.size();
  files_.push_front({.name = std::move(job.name), .bytes = bytes, .blocks = std::move(job.blocks)});
  add(files_.begin());
  make_room(0);
}

// Gives the writer the first blocks that are not on disk. False: there are none, or they have left memory.
bool Snapshots::start(Pending& pending, const Source& source) {
  const auto missing = static_cast<uint32_t>(
      std::find_if(pending.digests.begin(), pending.digests.end(),
                   [&](const Digest& block) { return by_block_.find(block) == by_block_.end(); }) -
      pending.digests.begin());
  const uint32_t count = std::min(kMostFileBlocks, static_cast<uint32_t>(pending.digests.size()) - missing);
  if (count == 0) return false;
  Job job;
  job.file.blocks = source.copy(pending.seed, pending.tokens, missing, count);
  if (job.file.blocks.empty()) return false;
  const auto end = missing + static_cast<uint32_t>(job.file.blocks.size());
  const auto digests = std::span(pending.digests).subspan(missing, end - missing);
  job.name = hex_of(digests.back()) + std::string(kSuffix);
  job.blocks.assign(digests.begin(), digests.end());
  job.file.first = missing;
  job.file.header = {.model = model_,
                     .plan = seal_of(pending.seed),
                     .tokens = {pending.tokens.begin(), pending.tokens.begin() + size_t{end} * kPageSlots}};
  touch(std::span(pending.digests).first(missing));  // what it goes on from stays
  if (!make_room(job.file.bytes())) return false;
  {
    const std::lock_guard lock(mutex_);
    busy_ = true;
    job_ = std::move(job);
  }
  wake_.notify_one();
  return true;
}

// False: so many bytes are never allowed.
bool Snapshots::make_room(uint64_t bytes) {
  if (bytes > options_.most_bytes) return false;
  while (!files_.empty() && stats_.bytes + bytes > options_.most_bytes) remove(std::prev(files_.end()));
  return true;
}

void Snapshots::write_files() {
  for (;;) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return stop_ || job_; });
    if (!job_) return;
    Job job = std::move(*job_);
    job_.reset();
    lock.unlock();
    job.done = write_snapshot(path_of(job.name), job.file);
    job.file = {};
    lock.lock();
    done_ = std::move(job);
  }
}

std::optional<Snapshots::Found> Snapshots::find(const PrefixSeed& seed, std::span<const TokenId> tokens,
                                                uint32_t block) {
  if (files_.empty()) return std::nullopt;
  const std::vector<Digest> digests = digests_of(seed, tokens);
  touch(digests);
  if (block >= digests.size()) return std::nullopt;
  const auto found = by_block_.find(digests[block]);
  if (found == by_block_.end()) return std::nullopt;
  Result<SessionReader> reader = SessionReader::open(path_of(found->second->name), SessionCheck::kAll);
  const Result<SnapshotRange> range = reader.ok() ? snapshot_range(*reader) : reader.error();
  if (!range.ok()) {
    refuse(seed, tokens, block, range.error());
    return std::nullopt;
  }
  const std::vector<TokenId>& held = reader->header().tokens;
  const size_t common = std::min(held.size(), tokens.size());
  const auto differs = std::mismatch(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(common), tokens.begin());
  const auto end = static_cast<uint32_t>((differs.first - held.begin()) / kPageSlots);
  if (reader->header().plan != seal_of(seed) || reader->header().model != model_ || block < range->first ||
      block >= end) {
    return std::nullopt;
  }
  return Found{std::move(*reader), end};
}

void Snapshots::refuse(const PrefixSeed& seed, std::span<const TokenId> tokens, uint32_t block, const Error& error) {
  const std::vector<Digest> digests = digests_of(seed, tokens);
  const auto found = block < digests.size() ? by_block_.find(digests[block]) : by_block_.end();
  if (found == by_block_.end()) return;
  log_message(LogLevel::kWarning, "the snapshot '{}' is removed, and read anew: {}", path_of(found->second->name),
              error.message);
  ++stats_.damaged;
  remove(found->second);
}

SnapshotStats Snapshots::stats() const { return stats_; }

}  // namespace loci
