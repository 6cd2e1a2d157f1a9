// The promise of contracts: on one instruction set, bits do not depend on chunking, neighbours, threads, prefix hits or
// forks.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "engine/core.h"
#include "io/model_file.h"

namespace loci {
namespace {

struct Case {
  std::string model;
  std::string store;
  Isa isa;
  std::string activations = "int16";
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.model << " " << c.store << " " << to_string(c.isa) << " " << c.activations;
}

std::vector<Case> cases() {
  std::vector<Case> out;
  for (const Isa isa : supported_isas()) {
    for (const char* activations : {"int8", "f32"}) {
      out.push_back({"tests/data/parity/tiny-gemma3", "dense", isa, activations});
      if (isa == best_isa()) out.push_back({"models/needle-14m-q8_0.gguf", "dense", isa, activations});
    }
    for (const char* store : {"dense", "store=kv8", "store=kv4"}) {
      // Windows and head norms; and head_dim 64 with groups of two. The scalar reference is too slow for the larger
      // one.
      out.push_back({"tests/data/parity/tiny-gemma3", store, isa});
      if (isa != Isa::kScalar) out.push_back({"models/needle-14m-q8_0.gguf", store, isa});
    }
  }
  return out;
}

using Logits = std::vector<std::vector<float>>;  // of every fed row

class Bits : public testing::TestWithParam<Case> {
 protected:
  std::unique_ptr<Core> load(int threads, bool prefix_cache = false) const {
    auto file = open_model_file(std::string(LOCI_SOURCE_DIR) + "/" + GetParam().model);
    EXPECT_TRUE(file.ok()) << file.error().message;
    EngineOptions options;
    options.threads = threads;
    options.context = 512;
    options.chunk = 256;
    options.batch = 4;
    options.attention = GetParam().store;
    options.isa = to_string(GetParam().isa);
    options.activations = GetParam().activations;
    options.prefix_cache = prefix_cache;
    auto core = Core::load(**file, options);
    EXPECT_TRUE(core.ok()) << core.error().message;
    return std::move(*core);
  }

  static std::vector<TokenId> random_tokens(const Core& core, size_t count, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<TokenId> out(count);
    for (TokenId& id : out) id = static_cast<TokenId>(random() % core.model().config().vocabulary);
    return out;
  }

  static void feed(Core& core, Sequence& sequence, uint32_t tokens, Logits& logits) {
    const Feed one{&sequence, tokens, Feed::Logits::kAll};
    const Status done = core.forward(std::span(&one, 1), {}, [&](size_t, uint32_t, const Rows& rows) -> Status {
      for (uint32_t i = 0; i < rows.rows; ++i) logits.emplace_back(rows.row(i), rows.row(i) + rows.width);
      return {};
    });
    ASSERT_TRUE(done.ok()) << done.error().message;
  }

  static Logits feed_in_chunks(Core& core, const std::vector<TokenId>& tokens, uint32_t chunk) {
    Sequence sequence = core.new_sequence();
    sequence.tokens = tokens;
    sequence.prompt_tokens = static_cast<uint32_t>(tokens.size());
    Logits logits;
    while (sequence.unfed() > 0) feed(core, sequence, std::min(chunk, sequence.unfed()), logits);
    return logits;
  }

  static void expect_same(const Logits& a, const Logits& b, const char* what, size_t offset = 0) {
    ASSERT_EQ(a.size() - offset, b.size()) << what;
    for (size_t i = 0; i < b.size(); ++i) {
      ASSERT_EQ(0, std::memcmp(a[offset + i].data(), b[i].data(), b[i].size() * sizeof(float)))
          << what << ", row " << offset + i;
    }
  }
};

TEST_P(Bits, ChunksAndThreads) {
  const std::unique_ptr<Core> one = load(1);
  const std::vector<TokenId> tokens = random_tokens(*one, 150, 1);
  const Logits whole = feed_in_chunks(*one, tokens, 150);
  for (const uint32_t chunk : {1u, 7u, 64u}) expect_same(whole, feed_in_chunks(*one, tokens, chunk), "chunked");
  const std::unique_ptr<Core> two = load(2);
  expect_same(whole, feed_in_chunks(*two, tokens, 150), "two threads");
  expect_same(whole, feed_in_chunks(*two, tokens, 7), "two threads, chunked");
  const std::unique_ptr<Core> three = load(3);
  expect_same(whole, feed_in_chunks(*three, tokens, 64), "three threads, chunked");
}

TEST_P(Bits, BatchedEqualsAlone) {
  const std::unique_ptr<Core> core = load(2);
  const std::vector<uint32_t> lengths = {130, 33, 75};
  std::vector<Sequence> sequences;
  std::vector<Logits> alone, batched(lengths.size());
  for (uint32_t i = 0; i < lengths.size(); ++i) {
    sequences.push_back(core->new_sequence());
    sequences.back().tokens = random_tokens(*core, lengths[i], 10 + i);
    alone.push_back(feed_in_chunks(*core, sequences.back().tokens, 150));
  }
  std::mt19937 random(3);
  for (;;) {  // any mix of chunks and single rows
    std::vector<Feed> feeds;
    std::vector<size_t> of;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const uint32_t left = sequences[i].unfed();
      if (left == 0) continue;
      feeds.push_back({&sequences[i], random() % 2 == 0 ? 1 : 1 + static_cast<uint32_t>(random() % std::min(left, 50u)),
                       Feed::Logits::kAll});
      of.push_back(i);
    }
    if (feeds.empty()) break;
    const Status done = core->forward(feeds, {}, [&](size_t f, uint32_t, const Rows& rows) -> Status {
      for (uint32_t r = 0; r < rows.rows; ++r) batched[of[f]].emplace_back(rows.row(r), rows.row(r) + rows.width);
      return {};
    });
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  for (size_t i = 0; i < sequences.size(); ++i) expect_same(alone[i], batched[i], "batched");
}

TEST_P(Bits, PrefixHitEqualsRecompute) {
  const std::unique_ptr<Core> core = load(2, true);
  std::vector<TokenId> first = random_tokens(*core, 150, 20);
  feed_in_chunks(*core, first, 50);
  std::vector<TokenId> second(first.begin(), first.begin() + 140);
  const std::vector<TokenId> tail = random_tokens(*core, 30, 21);
  second.insert(second.end(), tail.begin(), tail.end());
  const Logits recomputed = feed_in_chunks(*load(2), second, 150);

  Sequence sequence = core->new_sequence();
  sequence.tokens = second;
  const uint32_t taken = core->adopt_prefix(sequence);
  ASSERT_EQ(taken, 128u);
  sequence.prompt_tokens = static_cast<uint32_t>(second.size());
  Logits logits;
  feed(*core, sequence, sequence.unfed(), logits);
  expect_same(recomputed, logits, "prefix hit", taken);
}

TEST_P(Bits, ForkEqualsRecompute) {
  const std::unique_ptr<Core> core = load(2);
  const std::vector<TokenId> shared = random_tokens(*core, 100, 30);
  Sequence parent = core->new_sequence();
  parent.tokens = shared;
  Logits ignored;
  feed(*core, parent, 100, ignored);
  std::vector<Sequence> children;
  for (uint32_t i = 0; i < 2; ++i) {
    children.push_back(core->new_sequence());
    children[i].cache = parent.cache.fork();
    children[i].tokens = shared;
    const std::vector<TokenId> tail = random_tokens(*core, 40, 31 + i);
    children[i].tokens.insert(children[i].tokens.end(), tail.begin(), tail.end());
  }
  std::vector<Logits> forked(2);
  for (int step = 0; step < 40; ++step) {  // the two write in turns into pages that began as shared
    for (size_t i = 0; i < 2; ++i) feed(*core, children[i], 1, forked[i]);
  }
  for (size_t i = 0; i < 2; ++i) expect_same(feed_in_chunks(*core, children[i].tokens, 150), forked[i], "forked", 100);
}

TEST_P(Bits, TrimAndFeedAgain) {
  const std::unique_ptr<Core> core = load(2);
  const std::vector<TokenId> tokens = random_tokens(*core, 120, 40);
  const Logits whole = feed_in_chunks(*core, tokens, 120);
  Sequence sequence = core->new_sequence();
  sequence.tokens = tokens;
  Logits logits;
  feed(*core, sequence, 120, logits);
  const bool kept = sequence.cache.trim(90);
  if (!kept) {
    ASSERT_TRUE(sequence.cache.trim(0));
  }
  logits.clear();
  const uint32_t from = sequence.cache.tokens();
  feed(*core, sequence, sequence.unfed(), logits);
  expect_same(whole, logits, "trimmed", from);
}

INSTANTIATE_TEST_SUITE_P(All, Bits, testing::ValuesIn(cases()));

}  // namespace
}  // namespace loci
