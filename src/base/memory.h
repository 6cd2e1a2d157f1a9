// Owned, aligned, zeroed memory for numbers. Large blocks come straight from the kernel (so that freeing returns them)
// and ask for huge pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"

namespace loci {

class Buffer {
 public:
  Buffer() = default;
  // `bytes` of zeroed memory, aligned to at least 64 bytes. kLimit if the system has no more.
  static Result<Buffer> allocate(size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  // Gives the memory of these bytes back to the system until they are written again, as far as whole pages of its own
  // lie among them; those then read as zeros. Of small buffers nothing is given back.
  void discard(size_t offset, size_t bytes);
  template <typename T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(data_), size_ / sizeof(T)};
  }
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data_), size_ / sizeof(T)};
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_ = 0;  // bytes mapped with mmap; 0 if `data_` came from aligned_alloc or lies in block_
  std::shared_ptr<Buffer> block_;

  friend class Arena;
};

// Hands out pieces of large blocks. Many pieces of a few hundred KiB that are read one after the other then lie on huge
// pages, which small blocks of their own could not; that is worth half the bandwidth again. A block lives as long as a
// piece of it.
class Arena {
 public:
  // As Buffer::allocate.
  Result<Buffer> take(size_t bytes);

 private:
  std::shared_ptr<Buffer> block_;
  size_t used_ = 0;  // bytes of block_
};

// Bytes of memory that a new allocation could use now without swapping (MemAvailable, bounded by the cgroup's limit).
uint64_t available_memory_bytes();
// The process's peak resident set, bytes.
uint64_t peak_resident_bytes();

}  // namespace loci
