// A file that is being made: `DESTINATION.part`, locked against other processes and threads, which becomes DESTINATION
// in one rename. Dropping the object keeps the bytes written so far; discard() removes them. Not for use by two threads
// at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace loci {

class PartFile {
 public:
  // Opens or creates the part and takes its lock; waits while another holds it. kCancelled if `cancelled` becomes true.
  static Result<PartFile> open(const std::filesystem::path& destination, const std::atomic<bool>* cancelled);
  ~PartFile();
  PartFile(PartFile&& other) noexcept;
  PartFile& operator=(PartFile&&) = delete;

  bool waited() const { return waited_; }  // another fetch of the same destination ran in the meantime
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

  Status append(const char* data, size_t bytes);
  Status truncate(uint64_t bytes);
  // SHA-256 of the bytes so far, lower-case hex; reads the file once.
  Result<std::string> sha256(const std::atomic<bool>* cancelled) const;
  // Flushes to disk and renames over the destination.
  Status commit();
  void discard();

 private:
  PartFile() = default;
  static Result<bool> try_lock(PartFile& part);

  std::filesystem::path destination_;
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  bool waited_ = false;
};

// SHA-256 of a whole file or of a string, lower-case hex.
Result<std::string> sha256_of_file(const std::filesystem::path& path, const std::atomic<bool>* cancelled);
std::string sha256_of(std::string_view text);

// True if both are the same digest in hex, whatever their case.
bool same_digest(std::string_view a, std::string_view b);

inline bool is_set(const std::atomic<bool>* flag) { return flag != nullptr && flag->load(std::memory_order_relaxed); }

}  // namespace loci
