// A fixed set of workers that run one function at a time over an index range.
//
// The caller is worker 0; `size() - 1` threads are the others. Every worker begins with a contiguous share of the
// indices, so that it reads memory in one long run and shares no cache line with the others; who is done early takes
// from the ends of the others' shares. While a Step is alive, and for some 100 microseconds after it or a loop, the
// workers spin, then yield their cores between looks; later they sleep. No system call is made to wake one that spins.
// Which worker runs which index is not defined: results must not depend on it. One caller at a time; loops do not nest.
// A loop costs about a microsecond beyond its work: one cache line to each worker and one back.
//
// Where every core that the process may use has a worker, each thread of the pool is pinned to a core of its own, so
// that it keeps its caches and its share of memory; the caller, which is not the pool's to move, finds the core that is
// left. With fewer workers than cores the system places them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace loci {

class ThreadPool {
 public:
  // `threads` >= 1 workers in all, the caller included; 0 means one for each core this process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }
  bool pinned() const { return pinned_; }

  // Calls body(index, worker) for every index in [0, count), each once, and returns when all are done.
  // `body` must not throw.
  template <typename Body>
  void parallel_for(size_t count, Body&& body) {
    using B = std::remove_reference_t<Body>;
    run(count, const_cast<void*>(static_cast<const void*>(&body)),
        [](void* b, size_t index, int worker) { (*static_cast<B*>(b))(index, worker); });
  }

  // Keeps the workers awake for its lifetime.
  class Step {
   public:
    explicit Step(ThreadPool& pool);
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    ThreadPool& pool_;
  };

  // Times that workers were woken from sleep, since the start: none between the loops of a Step.
  uint64_t wakes() const { return wakes_.load(std::memory_order_relaxed); }

 private:
  using Call = void (*)(void* body, size_t index, int worker);

  // Indices not yet claimed: the first in the upper half, one past the last in the lower. The owner claims at the
  // front, others at the back. Two cache lines, since processors fetch them in pairs.
  struct alignas(128) Share {
    std::atomic<uint64_t> range{0};
  };

  void run(size_t count, void* body, Call call);
  bool has_work(int worker) const;
  uint32_t drain(int worker);
  void wake_sleepers();
  bool await_work(int worker);
  void sleep(int worker);
  void worker_loop(int worker);
  void pin_workers();

  int size_ = 1;
  bool pinned_ = false;
  std::vector<std::thread> threads_;
  std::unique_ptr<Share[]> shares_;  // one per worker

  // The current loop. Written by the caller while no index is left to claim; stable from the first claim to the last
  // completion. A worker that comes late finds no index, and the caller never waits for one that took none.
  void* body_ = nullptr;
  Call call_ = nullptr;
  alignas(128) std::atomic<uint32_t> done_{0};  // indices completed by workers other than the caller
  alignas(128) std::atomic<int> steps_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::atomic<uint64_t> wakes_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace loci
