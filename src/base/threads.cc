#include "base/threads.h"

#include "base/assert.h"
#include "base/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace loci {
namespace {

// Spins this often before it yields its core, so that a loaded machine still makes progress.
constexpr int kSpinsBeforeYield = 4096;

inline void pause_core() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) : size_(threads > 0 ? threads : cpu_info().cores) {
  threads_.reserve(static_cast<size_t>(size_ - 1));
  for (int worker = 1; worker < size_; ++worker) threads_.emplace_back([this, worker] { worker_loop(worker); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

ThreadPool::Step::Step(ThreadPool& pool) : pool_(pool) {
  {
    std::lock_guard lock(pool_.mutex_);
    pool_.steps_.fetch_add(1);
  }
  pool_.wake_.notify_all();
}

ThreadPool::Step::~Step() { pool_.steps_.fetch_sub(1); }

void ThreadPool::drain(int worker) {
  for (;;) {
    uint64_t state = state_.load(std::memory_order_acquire);
    const uint32_t left = static_cast<uint32_t>(state);
    if (left == 0) return;
    if (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel)) continue;
    call_(body_, count_ - left, worker);
    done_.fetch_add(1, std::memory_order_release);
  }
}

void ThreadPool::run(size_t count, void* body, Call call) {
  if (count == 0) return;
  if (size_ == 1 || count == 1) {
    for (size_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  LOCI_ASSERT(count <= UINT32_MAX, "a loop has fewer than 2^32 indices");
  count_ = static_cast<uint32_t>(count);
  body_ = body;
  call_ = call;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t number = (state_.load(std::memory_order_relaxed) >> 32) + 1;
  {
    std::lock_guard lock(mutex_);
    state_.store(number << 32 | count_, std::memory_order_release);
  }
  if (steps_.load() == 0) wake_.notify_all();
  drain(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) != count_; ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause_core();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::worker_loop(int worker) {
  int spins = 0;
  for (;;) {
    if (work_left()) {
      drain(worker);
      spins = 0;
      continue;
    }
    if (stop_.load()) return;
    if (steps_.load() > 0) {
      if (++spins < kSpinsBeforeYield) {
        pause_core();
      } else {
        std::this_thread::yield();
      }
      continue;
    }
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return stop_.load() || steps_.load() > 0 || work_left(); });
  }
}

}  // namespace loci
