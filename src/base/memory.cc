#include "base/memory.h"

#include <sys/mman.h>
#include <unistd.h>

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
constexpr size_t kArenaBlock = size_t{64} << 20;
constexpr size_t kMapFrom = size_t{1} << 20;  // blocks of this size and more are mapped

// The number after `key` in a file of "key: number kB" lines, in bytes; 0 if there is none.
uint64_t kilobyte_field(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + key.size(), nullptr, 10) * 1024;
  }
  return 0;
}

// `bytes` (whole huge pages) that begin on a huge page, so that the system can back them with such; null if there are
// none.
std::byte* map_aligned(size_t bytes) {
  const size_t room = bytes + kHugePage;
  void* all = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(all);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + bytes, room - bytes - before);
  return begin + before;
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
    std::byte* p = map_aligned(mapped);
    if (p == nullptr) return error();
    // Only where a whole huge page is used: else a block could hold more than its size.
    (void)madvise(p, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
    out.data_ = p;
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

void Buffer::discard(size_t offset, size_t bytes) {
  if (mapped_ == 0) return;
  static const auto kPage = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t first = round_up(offset, kPage), last = (offset + bytes) / kPage * kPage;
  if (last > first) (void)madvise(data_ + first, last - first, MADV_DONTNEED);
}

Result<Buffer> Arena::take(size_t bytes) {
  if (bytes >= kArenaBlock || !checked_add(bytes, kAlignment)) return Buffer::allocate(bytes);
  const size_t room = round_up(bytes, kAlignment);
  if (block_ == nullptr || block_->size() - used_ < room) {
    LOCI_TRY(Buffer block, Buffer::allocate(kArenaBlock));
    block_ = std::make_shared<Buffer>(std::move(block));
    used_ = 0;
  }
  Buffer out;
  if (bytes == 0) return out;
  out.data_ = block_->data() + used_;
  out.size_ = bytes;
  out.block_ = block_;
  used_ += room;
  return out;
}

Buffer::~Buffer() {
  if (data_ == nullptr || block_ != nullptr) return;
  if (mapped_ > 0) {
    munmap(data_, mapped_);
  } else {
    std::free(data_);
  }
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)),
      block_(std::move(other.block_)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
  std::swap(block_, other.block_);
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
