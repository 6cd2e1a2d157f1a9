#include "base/threads.h"

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
  for (size_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) call_(body_, i, worker);
}

void ThreadPool::run(size_t count, void* body, Call call) {
  if (count == 0) return;
  if (size_ == 1 || count == 1) {
    for (size_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  count_ = count;
  body_ = body;
  call_ = call;
  next_.store(0);
  running_.store(size_ - 1);
  {
    std::lock_guard lock(mutex_);
    epoch_.fetch_add(1, std::memory_order_release);
  }
  if (steps_.load() == 0) wake_.notify_all();
  drain(0);
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpinsBeforeYield) {
      pause_core();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::worker_loop(int worker) {
  uint64_t seen = 0;
  for (;;) {
    int spins = 0;
    while (epoch_.load(std::memory_order_acquire) == seen) {
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
      wake_.wait(lock, [&] { return stop_.load() || steps_.load() > 0 || epoch_.load() != seen; });
    }
    seen = epoch_.load(std::memory_order_acquire);
    drain(worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace loci
