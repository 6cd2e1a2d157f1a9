// Memory that a decode step asks for. Layers, products and reads of the cache live in scratch memory planned at start,
// so a step allocates a handful of small lists whatever the model's depth:
//     Scheduler::pass     the feeds of the pass, the generations they belong to
//     Core::forward       the batch's items and rows
//     hand_out_logits     the rows whose logits are wanted
//     Batch               rotary tables per frequency set, reads of a layer, and by sequence what its plan selects,
//                         adds and keeps
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "engine/batcher.h"
#include "io/model_file.h"
#include "loci/loci.h"

namespace {
std::atomic<uint64_t> allocations{0};

void* allocate(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* p = std::malloc(bytes == 0 ? 1 : bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace

void* operator new(size_t bytes) { return allocate(bytes); }
void* operator new[](size_t bytes) { return allocate(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }

namespace loci {
namespace {

// Allocations between tokens, of a model that ships.
std::vector<uint64_t> per_step(uint32_t steps) {
  EngineOptions options;
  options.threads = 2;
  options.context = 512;
  Result<Engine> engine = Engine::load(LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf", options);
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  Result<Session> session = engine->open_session();
  EXPECT_TRUE(session.ok());
  std::vector<uint64_t> at;
  at.reserve(steps + 8);
  Request request;
  request.prompt = {1, 2, 3, 4};
  request.max_new_tokens = steps;
  request.ignore_eos = true;
  request.on_progress = [&](const Progress&) { at.push_back(allocations.load()); };
  const Result<Completion> done = session->generate(request);
  EXPECT_TRUE(done.ok());
  std::vector<uint64_t> out;
  for (size_t i = 1; i < at.size(); ++i) out.push_back(at[i] - at[i - 1]);
  return out;
}

TEST(DecodeSteps, AllocateAHandfulOfListsAndNothingPerLayer) {
  std::vector<uint64_t> counts = per_step(100);
  ASSERT_GE(counts.size(), 90u);
  std::sort(counts.begin(), counts.end());
  EXPECT_LE(counts[counts.size() / 2], 12u);
  EXPECT_LE(counts.back(), 24u) << "a page's border or a list that grows";
}

// Allocations of a server's steps, whose sequence is watched or not. Most of a step's.
uint64_t of_a_batch_step(MemoryWatch watch) {
  const auto file = std::move(*open_model_file(LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf"));
  const auto tokenizer = std::move(*Tokenizer::load(*file));
  const auto core = std::move(*Core::load(*file, {.threads = 2, .context = 512}));
  Batcher batcher(*core, *tokenizer);
  BatchRequest request;
  request.choices.push_back({.prompt = {1, 2, 3, 4}, .max_new_tokens = 100, .ignore_eos = true});
  request.memory = std::move(watch);
  request.on_done = [](uint32_t, Result<Completion> done) { EXPECT_TRUE(done.ok()); };
  batcher.submit(std::move(request));
  std::vector<uint64_t> counts;
  counts.reserve(128);
  while (!batcher.idle()) {
    const uint64_t before = allocations.load();
    batcher.step();
    counts.push_back(allocations.load() - before);
  }
  std::sort(counts.begin(), counts.end());
  return counts[counts.size() / 2];
}

TEST(DecodeSteps, OfAServerPayForMemoryOnlyIfItIsWatched) {
  const uint64_t unwatched = of_a_batch_step({});
  EXPECT_LE(unwatched, 12u);
  EXPECT_EQ(of_a_batch_step({.every = 1000, .on_picture = [](uint32_t, const MemoryPicture&) {}}), unwatched);
  EXPECT_GT(of_a_batch_step({.every = 1, .on_picture = [](uint32_t, const MemoryPicture&) {}}), unwatched + 6)
      << "a row for each layer";
}

}  // namespace
}  // namespace loci
