// A regular file mapped read-only. Owns the mapping and nothing else (the descriptor is closed once mapped); movable;
// any thread may read. Opening costs two system calls and no reading.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "base/error.h"

namespace loci {

class MappedFile {
 public:
  MappedFile() = default;
  // An empty file maps to an empty range.
  static Result<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // The same bytes as text.
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  bool contains(std::span<const std::byte> range) const;

  // Drops the whole pages inside `range` from the resident set; they are read again from the file when touched. A range
  // that is not of this file is ignored.
  void release(std::span<const std::byte> range) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace loci
