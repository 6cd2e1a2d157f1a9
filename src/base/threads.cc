#include "base/threads.h"

#include <pthread.h>
#include <sched.h>

#include "base/assert.h"
#include "base/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace loci {
namespace {

// Looks at a flag before the core is yielded between looks, so that a loaded machine makes progress: about 30
// microseconds, more than what the caller does alone between two loops of a step.
constexpr uint32_t kSpins = 1024;
// Looks before a worker sleeps where no step is alive: what a sampler and its caller do between two steps is shorter.
constexpr uint32_t kLooksBeforeSleep = kSpins + 512;

void pause_core() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Waits a little; longer, and for others' good, the more often it was called in a row.
void wait_a_little(uint32_t looks) {
  if (looks < kSpins) {
    pause_core();
  } else {
    std::this_thread::yield();
  }
}

constexpr uint64_t pack(uint64_t first, uint64_t last) { return first << 32 | last; }
constexpr uint32_t first_of(uint64_t range) { return static_cast<uint32_t>(range >> 32); }
constexpr uint32_t last_of(uint64_t range) { return static_cast<uint32_t>(range); }

}  // namespace

ThreadPool::ThreadPool(int threads)
    : size_(threads > 0 ? threads : cpu_info().cores), shares_(std::make_unique<Share[]>(static_cast<size_t>(size_))) {
  threads_.reserve(static_cast<size_t>(size_ - 1));
  for (int worker = 1; worker < size_; ++worker) threads_.emplace_back([this, worker] { worker_loop(worker); });
  pin_workers();
}

void ThreadPool::pin_workers() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (size_ < 2 || sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) != size_) return;
  // The caller stays where it is.
  const int here = sched_getcpu();
  if (here < 0 || !CPU_ISSET(static_cast<size_t>(here), &allowed)) return;
  CPU_CLR(static_cast<size_t>(here), &allowed);
  pinned_ = true;
  size_t core = 0;
  for (std::thread& thread : threads_) {
    while (!CPU_ISSET(core, &allowed)) ++core;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(core++, &own);
    // A system that refuses leaves the thread to itself.
    if (pthread_setaffinity_np(thread.native_handle(), sizeof own, &own) != 0) pinned_ = false;
  }
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
  pool_.steps_.fetch_add(1);
  pool_.wake_sleepers();
}

ThreadPool::Step::~Step() { pool_.steps_.fetch_sub(1); }

// What was stored before the call is seen by a worker that falls asleep after it: both sides write, then look at what
// the other wrote, in one order of all.
void ThreadPool::wake_sleepers() {
  if (sleepers_.load() == 0) return;
  wakes_.fetch_add(1, std::memory_order_relaxed);
  { const std::lock_guard lock(mutex_); }
  wake_.notify_all();
}

bool ThreadPool::has_work(int worker) const {
  const uint64_t range = shares_[static_cast<size_t>(worker)].range.load();
  return first_of(range) < last_of(range);
}

// Runs this worker's share and then what it can take from the others. Returns the number of indices it ran.
uint32_t ThreadPool::drain(int worker) {
  uint32_t ran = 0;
  for (int i = 0; i < size_; ++i) {
    std::atomic<uint64_t>& share = shares_[static_cast<size_t>((worker + i) % size_)].range;
    uint64_t range = share.load(std::memory_order_acquire);
    while (first_of(range) < last_of(range)) {
      const uint32_t index = i == 0 ? first_of(range) : last_of(range) - 1;
      const uint64_t rest = i == 0 ? pack(first_of(range) + 1, last_of(range)) : pack(first_of(range), index);
      if (!share.compare_exchange_weak(range, rest, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      call_(body_, index, worker);
      ++ran;
      range = share.load(std::memory_order_acquire);
    }
  }
  return ran;
}

void ThreadPool::run(size_t count, void* body, Call call) {
  if (size_ == 1 || count <= 1) {
    for (size_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  LOCI_ASSERT(count <= UINT32_MAX, "a loop has fewer than 2^32 indices");
  body_ = body;
  call_ = call;
  done_.store(0, std::memory_order_relaxed);
  const auto workers = static_cast<size_t>(size_);
  for (size_t i = workers; i > 0; --i) {  // the caller's own last
    shares_[i - 1].range.store(pack((i - 1) * count / workers, i * count / workers));
  }
  wake_sleepers();
  const uint32_t by_others = static_cast<uint32_t>(count) - drain(0);
  for (uint32_t looks = 0; done_.load(std::memory_order_acquire) != by_others; ++looks) wait_a_little(looks);
}

// False when the pool ends.
bool ThreadPool::await_work(int worker) {
  for (uint32_t looks = 0; !has_work(worker); ++looks) {
    if (stop_.load(std::memory_order_relaxed)) return false;
    if (looks >= kLooksBeforeSleep && steps_.load(std::memory_order_relaxed) == 0) {
      sleep(worker);
      looks = 0;
    } else {
      wait_a_little(looks);
    }
  }
  return true;
}

void ThreadPool::sleep(int worker) {
  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return stop_.load() || steps_.load() > 0 || has_work(worker); });
  sleepers_.fetch_sub(1);
}

void ThreadPool::worker_loop(int worker) {
  while (await_work(worker)) {
    const uint32_t ran = drain(worker);
    // A loop ends only when what was claimed is added here, so this counts for the loop of the claims.
    if (ran > 0) done_.fetch_add(ran, std::memory_order_release);
  }
}

}  // namespace loci
