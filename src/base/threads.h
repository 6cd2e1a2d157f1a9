// A fixed set of workers that run one function at a time over an index range.
//
// The caller is worker 0; `size() - 1` threads are the others. While a Step is alive the workers spin between calls, so
// that the hundred short loops of a decode step cost microseconds each; otherwise they sleep. Which worker runs which
// index is not defined: results must not depend on it. One caller at a time; loops do not nest.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
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

 private:
  using Call = void (*)(void* body, size_t index, int worker);

  void run(size_t count, void* body, Call call);
  bool work_left() const { return static_cast<uint32_t>(state_.load(std::memory_order_acquire)) != 0; }
  void drain(int worker);
  void worker_loop(int worker);

  int size_ = 1;
  std::vector<std::thread> threads_;

  // The current loop. Written by the caller while no index is left to claim; stable from the first claim to the last
  // completion. `state_` is the loop's number in the upper half and the indices left to claim in the lower: a worker
  // that comes late finds none, and the caller never waits for one that took none.
  uint32_t count_ = 0;
  void* body_ = nullptr;
  Call call_ = nullptr;
  alignas(64) std::atomic<uint64_t> state_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  std::atomic<int> steps_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace loci
