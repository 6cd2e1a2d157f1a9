#include "base/threads.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "base/cpu.h"

namespace loci {
namespace {

TEST(ThreadPool, ZeroMeansEveryCore) { EXPECT_EQ(ThreadPool(0).size(), cpu_info().cores); }

cpu_set_t affinity() {
  cpu_set_t out;
  CPU_ZERO(&out);
  EXPECT_EQ(sched_getaffinity(0, sizeof out, &out), 0);
  return out;
}

TEST(ThreadPool, IsPinnedWhereEveryCoreHasAWorker) {
  const cpu_set_t before = affinity();
  ThreadPool all(0), more(cpu_info().cores + 1);
  EXPECT_EQ(all.pinned(), cpu_info().cores > 1);
  EXPECT_FALSE(more.pinned());
  for (ThreadPool* pool : {&all, &more}) {
    std::vector<cpu_set_t> of(static_cast<size_t>(pool->size()));
    std::vector<std::atomic<int>> ran(of.size());
    // Every worker waits for the others, so that each has one index.
    std::atomic<int> here{0};
    pool->parallel_for(of.size(), [&](size_t, int worker) {
      of[static_cast<size_t>(worker)] = affinity();
      ++ran[static_cast<size_t>(worker)];
      ++here;
      while (here.load() < pool->size()) std::this_thread::yield();
    });
    cpu_set_t taken;
    CPU_ZERO(&taken);
    for (size_t worker = 0; worker < of.size(); ++worker) {
      ASSERT_EQ(ran[worker].load(), 1);
      if (worker == 0 || !pool->pinned()) {
        EXPECT_TRUE(CPU_EQUAL(&of[worker], &before)) << worker;
        continue;
      }
      EXPECT_EQ(CPU_COUNT(&of[worker]), 1) << worker;
      CPU_OR(&taken, &taken, &of[worker]);
    }
    if (pool->pinned()) {
      EXPECT_EQ(CPU_COUNT(&taken), pool->size() - 1) << "no two share a core";
    }
  }
}

TEST(ThreadPool, RunsEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{7}, size_t{1000}}) {
      std::vector<std::atomic<int>> seen(count);
      pool.parallel_for(count, [&](size_t i, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        ++seen[i];
      });
      for (size_t i = 0; i < count; ++i) EXPECT_EQ(seen[i].load(), 1) << i;
    }
  }
}

// Each loop writes plain memory that the next one reads: a lost wake-up hangs, a missing fence shows under TSan.
TEST(ThreadPool, ThousandsOfShortLoopsInAStep) {
  ThreadPool pool(4);
  const ThreadPool::Step step(pool);
  std::mt19937 random(3);
  std::vector<uint64_t> values(64, 1);
  uint64_t expected = 1;
  for (int loop = 0; loop < 3000; ++loop) {
    const size_t count = 1 + random() % values.size();
    pool.parallel_for(values.size(), [&](size_t i, int) { values[i] = values[i] * 3 + 1; });
    pool.parallel_for(count, [&](size_t i, int) { values[i] += 0; });
    expected = expected * 3 + 1;
  }
  for (const uint64_t v : values) EXPECT_EQ(v, expected);
}

TEST(ThreadPool, LoopsWithStepsComingAndGoing) {
  ThreadPool pool(3);
  std::mt19937 random(5);
  uint64_t total = 0;
  uint64_t expected = 0;
  for (int round = 0; round < 500; ++round) {
    std::optional<ThreadPool::Step> step;
    if (random() % 2 == 0) step.emplace(pool);
    for (uint32_t loops = random() % 8; loops > 0; --loops) {
      std::vector<uint64_t> parts(17, 0);
      pool.parallel_for(parts.size(), [&](size_t i, int) { parts[i] = i; });
      total += std::accumulate(parts.begin(), parts.end(), uint64_t{0});
      expected += 17 * 16 / 2;
    }
  }
  EXPECT_EQ(total, expected);
}

TEST(ThreadPool, NestedStepsKeepWorkersAwakeUntilTheLastEnds) {
  ThreadPool pool(2);
  const ThreadPool::Step outer(pool);
  { const ThreadPool::Step inner(pool); }
  std::atomic<int> calls{0};
  pool.parallel_for(100, [&](size_t, int) { ++calls; });
  EXPECT_EQ(calls.load(), 100);
}

TEST(ThreadPool, StartsAndStopsOften) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(1 + i % 4);
    std::atomic<int> calls{0};
    if (i % 3 != 0) pool.parallel_for(8, [&](size_t, int) { ++calls; });
    EXPECT_EQ(calls.load(), i % 3 != 0 ? 8 : 0);
  }
}

TEST(ThreadPool, BothWorkersTakePart) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  // Each of the two indices waits for the other: one worker alone could not finish.
  pool.parallel_for(2, [&](size_t, int) {
    ++inside;
    while (inside.load() < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    if (inside.load() == 2) met = true;
  });
  EXPECT_TRUE(met.load());
}

// Uneven work: whoever is done takes from the others' shares, and every index still runs once.
TEST(ThreadPool, IndicesOfASlowWorkerAreTakenOver) {
  ThreadPool pool(3);
  const ThreadPool::Step step(pool);
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const size_t count = 2 + random() % 50;
    const size_t slow = random() % count;
    std::vector<std::atomic<int>> seen(count);
    std::atomic<size_t> others{0};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    pool.parallel_for(count, [&](size_t i, int) {
      if (i == slow) {  // ends only when all other indices have run elsewhere
        while (others.load() + 1 < count && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      } else {
        ++others;
      }
      ++seen[i];
    });
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(seen[i].load(), 1) << i;
  }
}

// Results may not depend on who runs what, but speed does: each worker reads one run of memory.
TEST(ThreadPool, SharesAreContiguous) {
  ThreadPool pool(2);
  const ThreadPool::Step step(pool);
  std::vector<int> worker_of(64, -1);
  std::atomic<int> inside{0};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  pool.parallel_for(worker_of.size(), [&](size_t i, int worker) {
    // Both have begun before either goes on: neither takes the other's share at once.
    if (i == 0 || i == worker_of.size() / 2) {
      ++inside;
      while (inside.load() < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    }
    worker_of[i] = worker;
  });
  EXPECT_EQ(worker_of.front(), 0);
  EXPECT_EQ(worker_of[worker_of.size() / 2], 1);
  int changes = 0;
  for (size_t i = 1; i < worker_of.size(); ++i) changes += worker_of[i] != worker_of[i - 1];
  EXPECT_LE(changes, 3);
}

TEST(ThreadPool, NobodyIsWokenInsideAStep) {
  ThreadPool pool(3);
  const ThreadPool::Step step(pool);
  std::atomic<int> inside{0};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  pool.parallel_for(3, [&](size_t, int) {  // ends when all three are awake
    ++inside;
    while (inside.load() < 3 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  });
  const uint64_t before = pool.wakes();
  for (int loop = 0; loop < 200; ++loop) {
    if (loop % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));  // outside a step they would sleep
    pool.parallel_for(16, [](size_t, int) {});
  }
  EXPECT_EQ(pool.wakes(), before);
}

TEST(ThreadPool, WorkersSleepWhenNothingIsToDo) {
  ThreadPool pool(2);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  uint64_t before = pool.wakes();
  // A loop has to wake the worker once it sleeps: it does so after some 100 microseconds of nothing.
  while (pool.wakes() == before && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    pool.parallel_for(4, [](size_t, int) {});
  }
  EXPECT_GT(pool.wakes(), before);
}

}  // namespace
}  // namespace loci
