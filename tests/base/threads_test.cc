#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "base/cpu.h"

namespace loci {
namespace {

TEST(ThreadPool, ZeroMeansEveryCore) { EXPECT_EQ(ThreadPool(0).size(), cpu_info().cores); }

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

}  // namespace
}  // namespace loci
