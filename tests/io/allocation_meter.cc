#include "io/allocation_meter.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> held_bytes{0};
std::atomic<size_t> peak_held_bytes{0};

void* count(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  const size_t held = held_bytes += ::malloc_usable_size(p);
  size_t peak = peak_held_bytes.load();
  while (held > peak && !peak_held_bytes.compare_exchange_weak(peak, held)) {
  }
  return p;
}

void uncount(void* p) {
  if (p != nullptr) held_bytes -= ::malloc_usable_size(p);
  std::free(p);
}

}  // namespace

void* operator new(size_t bytes) { return count(std::malloc(bytes == 0 ? 1 : bytes)); }
void* operator new[](size_t bytes) { return operator new(bytes); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  const auto step = static_cast<size_t>(alignment);
  return count(std::aligned_alloc(step, (bytes + step - 1) / step * step));
}
void* operator new[](size_t bytes, std::align_val_t alignment) { return operator new(bytes, alignment); }
void operator delete(void* p) noexcept { uncount(p); }
void operator delete[](void* p) noexcept { uncount(p); }
void operator delete(void* p, size_t) noexcept { uncount(p); }
void operator delete[](void* p, size_t) noexcept { uncount(p); }
void operator delete(void* p, std::align_val_t) noexcept { uncount(p); }
void operator delete[](void* p, std::align_val_t) noexcept { uncount(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { uncount(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { uncount(p); }

namespace loci {

AllocationMeter::AllocationMeter() : start_(held_bytes) { peak_held_bytes = start_; }

size_t AllocationMeter::peak_bytes() const { return peak_held_bytes - start_; }

}  // namespace loci
