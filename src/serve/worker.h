// One thread that does what is too slow for the server's own: reading JSON, rendering templates, finding tokens. Tasks
// run in order; how many wait is limited.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace loci {

class Worker {
 public:
  explicit Worker(size_t most_waiting) : most_waiting_(most_waiting), thread_([this] { run(); }) {}
  // Tasks that wait are dropped.
  ~Worker() { stop(); }

  // False if too many wait.
  bool post(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      if (stop_ || tasks_.size() >= most_waiting_) return false;
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
    return true;
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      tasks_.clear();
    }
    wake_.notify_all();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    for (;;) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || !tasks_.empty(); });
        if (stop_) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
    }
  }

  size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace loci
