// Runs plans on the model that ships, row by row, for tests that compare every logit.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/core.h"
#include "io/model_file.h"

namespace loci::test {

struct PlanRunOptions {
  std::string model = "models/needle-14m-q8_0.gguf";
  uint32_t context = 1024;
  uint32_t chunk = 256;
  uint32_t batch = 3;
  int threads = 2;
  bool prefix_cache = false;
  Isa isa = best_isa();
};

using RowLogits = std::vector<std::vector<float>>;  // of every fed row

inline std::unique_ptr<Core> load_core(const std::string& plan, const PlanRunOptions& run = {}) {
  auto file = open_model_file(run.model.starts_with('/') ? run.model : std::string(LOCI_SOURCE_DIR) + "/" + run.model);
  EXPECT_TRUE(file.ok()) << file.error().message;
  EngineOptions options;
  options.threads = run.threads;
  options.context = run.context;
  options.chunk = run.chunk;
  options.batch = run.batch;
  options.attention = plan;
  options.isa = to_string(run.isa);
  options.prefix_cache = run.prefix_cache;
  auto core = Core::load(**file, options);
  EXPECT_TRUE(core.ok()) << plan << ": " << core.error().message;
  return core.ok() ? std::move(*core) : nullptr;
}

inline std::vector<TokenId> random_tokens(const Core& core, size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> out(count);
  for (TokenId& id : out) id = static_cast<TokenId>(random() % core.model().config().vocabulary);
  return out;
}

// A sequence whose first `prompt` tokens are a prompt; the rest are fed as decode steps.
inline Sequence begin(Core& core, std::vector<TokenId> tokens, uint32_t prompt, bool adopt = false) {
  Sequence sequence = core.new_sequence();
  const auto total = static_cast<uint32_t>(tokens.size());
  sequence.tokens.assign(tokens.begin(), tokens.begin() + prompt);
  sequence.prompt_tokens = prompt;
  core.begin_prompt(sequence, {.prompt_tokens = prompt, .total_tokens = total, .seed = 7, .task = {}, .spans = {}});
  if (adopt) core.adopt_prefix(sequence);
  sequence.tokens = std::move(tokens);
  return sequence;
}

// Rows that the sequence brings into its next pass.
inline uint32_t next_rows(const Core& core, const Sequence& sequence, uint32_t used = 0) {
  (void)core;
  return sequence.unfed() > 0 ? sequence.next_rows(used) : 0;
}

inline void feed(Core& core, std::span<Sequence* const> sequences, std::span<const uint32_t> rows,
                 std::span<RowLogits* const> logits) {
  std::vector<Feed> feeds;
  for (size_t i = 0; i < sequences.size(); ++i) feeds.push_back({sequences[i], rows[i], Feed::Logits::kAll});
  const Status done = core.forward(feeds, {}, [&](size_t f, uint32_t, const Rows& part) -> Status {
    for (uint32_t r = 0; r < part.rows; ++r) logits[f]->emplace_back(part.row(r), part.row(r) + part.width);
    return {};
  });
  ASSERT_TRUE(done.ok()) << done.error().message;
}

// Feeds until the sequence has `tokens`.
inline void feed_until(Core& core, Sequence& sequence, uint32_t tokens, RowLogits& logits) {
  while (sequence.cache.tokens() < tokens) {
    Sequence* one = &sequence;
    RowLogits* to = &logits;
    const uint32_t rows = next_rows(core, sequence);
    feed(core, {&one, 1}, {&rows, 1}, {&to, 1});
    if (testing::Test::HasFatalFailure()) return;
  }
}

inline RowLogits run_alone(Core& core, const std::vector<TokenId>& tokens, uint32_t prompt) {
  Sequence sequence = begin(core, tokens, prompt);
  RowLogits logits;
  feed_until(core, sequence, static_cast<uint32_t>(tokens.size()), logits);
  return logits;
}

// `part` are the rows from `offset` on.
inline void expect_same_rows(const RowLogits& all, const RowLogits& part, const std::string& what, size_t offset = 0) {
  ASSERT_EQ(all.size() - offset, part.size()) << what;
  for (size_t i = 0; i < part.size(); ++i) {
    ASSERT_EQ(0, std::memcmp(all[offset + i].data(), part[i].data(), part[i].size() * sizeof(float)))
        << what << ", row " << offset + i;
  }
}

}  // namespace loci::test
