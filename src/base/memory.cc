#include "base/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "base/checked.h"

namespace loci {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kMapFrom = size_t{1} << 20;  // blocks of this size and more are mapped

// The number after `key` in a file of "key: number kB" lines, in bytes; 0 if there is none.
uint64_t kilobyte_field(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + key.size(), nullptr, 10) * 1024;
  }
  return 0;
}

uint64_t number_in(const char* path) {
  std::ifstream in(path);
  std::string word;
  if (!(in >> word) || word == "max") return std::numeric_limits<uint64_t>::max();
  return std::strtoull(word.c_str(), nullptr, 10);
}

}  // namespace

Result<Buffer> Buffer::allocate(size_t bytes) {
  Buffer out;
  if (bytes == 0) return out;
  const auto error = [&] {
    return fail(ErrorCode::kLimit, "cannot allocate {:.1f} MiB of memory: the system has {:.1f} MiB left",
                static_cast<double>(bytes) / 0x1p20, static_cast<double>(available_memory_bytes()) / 0x1p20);
  };
  if (!checked_add(bytes, kHugePage)) return error();
  if (bytes >= kMapFrom) {
    const size_t mapped = round_up(bytes, kHugePage);
    void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return error();
    // Only where a whole huge page is used: else a block could hold more than its size.
    if (bytes >= 4 * kHugePage) madvise(p, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
    out.data_ = static_cast<std::byte*>(p);
    out.mapped_ = mapped;
  } else {
    void* p = std::aligned_alloc(kAlignment, round_up(bytes, kAlignment));
    if (p == nullptr) return error();
    std::memset(p, 0, bytes);
    out.data_ = static_cast<std::byte*>(p);
  }
  out.size_ = bytes;
  return out;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (mapped_ > 0) {
    munmap(data_, mapped_);
  } else {
    std::free(data_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

uint64_t available_memory_bytes() {
  uint64_t available = kilobyte_field("/proc/meminfo", "MemAvailable:");
  const uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  if (limit != std::numeric_limits<uint64_t>::max()) {
    const uint64_t used = number_in("/sys/fs/cgroup/memory.current");
    available = std::min(available, limit > used ? limit - used : 0);
  }
  return available;
}

uint64_t peak_resident_bytes() { return kilobyte_field("/proc/self/status", "VmHWM:"); }

}  // namespace loci
