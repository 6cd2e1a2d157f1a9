// What may begin beside what is there: open sessions, their forks, and the prefix cache.
#include "engine/admission.h"

#include <gtest/gtest.h>

#include <list>
#include <random>

#include "engine/scheduler.h"
#include "io/model_file.h"

namespace loci {
namespace {

class AdmissionTest : public testing::Test {
 protected:
  void load(const std::string& model, EngineOptions options) {
    file_ = std::move(*open_model_file(std::string(LOCI_SOURCE_DIR) + "/" + model));
    tokenizer_ = std::move(*Tokenizer::load(*file_));
    core_ = std::move(*Core::load(*file_, options));
  }

  // `begin` tells prompts apart from their first token on.
  static Request request(size_t prompt, uint32_t tokens, size_t begin = 0) {
    Request out;
    for (size_t i = 0; i < prompt; ++i) out.prompt.push_back(static_cast<TokenId>(10 + (i * 7 + begin) % 300));
    out.max_new_tokens = tokens;
    out.ignore_eos = true;
    return out;
  }

  Result<Completion> run(const Request& request, Sequence& sequence) {
    return Scheduler(*core_, *tokenizer_).run(request, sequence);
  }
  Result<Completion> run(const Request& request) {
    return std::move(Scheduler(*core_, *tokenizer_).run(std::span(&request, 1))[0]);
  }

  // Asks the pool itself: takes every page that `sequence` needs to come to `tokens`, and gives them back. True only of
  // models without windows, whose sequences never give back a page on their way.
  bool pages_are_there(Sequence& sequence, uint32_t tokens) {
    bool there = true;
    const uint32_t more = tokens - std::min(tokens, sequence.cache.tokens());
    if (more > 0) {
      while (!(there = sequence.cache.reserve(more).ok()) && evict_one()) continue;
      sequence.cache.abandon_pass();
    }
    return there;
  }
  bool evict_one() {
    return core_->prefix_store() != nullptr && const_cast<PrefixStore*>(core_->prefix_store())->evict_one();
  }

  uint64_t bytes_in_use() const { return core_->pages().counters().bytes_in_use; }

  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Core> core_;
};

constexpr const char* kStories = "models/stories260k.gguf";
constexpr const char* kWindows = "tests/data/parity/tiny-gemma3";

// The cache holds five stripes of 64 tokens, of which the session has three.
TEST_F(AdmissionTest, OneThatOnlyOpenSessionsKeepOutIsRefusedBeforeItBegins) {
  load(kStories, {.context = 256, .batch = 1, .chunk = 64, .prefix_cache = false});
  Sequence session = core_->new_sequence();
  ASSERT_TRUE(run(request(190, 2), session).ok());
  const uint64_t held = bytes_in_use();
  Request large = request(100, 40);
  bool began = false;
  large.on_progress = [&](const Progress&) { began = true; };
  const auto refused = run(large);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kLimit);
  EXPECT_NE(refused.error().message.find("open sessions hold"), std::string::npos) << refused.error().message;
  EXPECT_FALSE(began);
  EXPECT_EQ(bytes_in_use(), held);
  // 128 tokens are two stripes: the last generated one is never fed.
  EXPECT_TRUE(run(request(100, 29)).ok());
  EXPECT_FALSE(run(request(100, 30)).ok());
}

TEST_F(AdmissionTest, ARefusedSessionKeepsItsTokensAndGoesOn) {
  load(kStories, {.context = 256, .batch = 1, .chunk = 64, .prefix_cache = true});
  Sequence alone = core_->new_sequence();
  ASSERT_TRUE(run(request(70, 5), alone).ok());
  const auto wanted = run(request(20, 8, 3), alone);
  ASSERT_TRUE(wanted.ok());

  for (const bool fresh : {false, true}) {
    Sequence large = core_->new_sequence();
    alone = core_->new_sequence();
    ASSERT_TRUE(run(request(190, 2, 100), large).ok());
    Sequence session = core_->new_sequence();
    if (!fresh) {
      ASSERT_TRUE(run(request(70, 5), session).ok());
    }
    const std::vector<TokenId> before = session.tokens;
    const auto refused = run(request(fresh ? 129 : 60, 5, fresh ? 0 : 3), session);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, ErrorCode::kLimit);
    EXPECT_EQ(session.tokens, before);
    if (fresh) {
      ASSERT_TRUE(run(request(70, 5), session).ok());
    }
    const auto after = run(request(20, 8, 3), session);
    ASSERT_TRUE(after.ok()) << after.error().message;
    EXPECT_EQ(after->tokens, wanted->tokens);
  }
}

TEST_F(AdmissionTest, WhatThePrefixCacheAloneHoldsIsGivenUp) {
  load(kStories, {.context = 256, .batch = 1, .chunk = 64, .prefix_cache = true});
  for (size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(run(request(200, 30, i)).ok()) << i;
    EXPECT_GT(bytes_in_use(), 0u);
  }
  // Its first blocks are shared with a session: those are held, and counted once.
  Sequence session = core_->new_sequence();
  ASSERT_TRUE(run(request(200, 2, 3), session).ok());
  const auto shared = run(request(200, 40, 3));
  ASSERT_TRUE(shared.ok()) << shared.error().message;
  EXPECT_EQ(shared->cached_tokens, 192u);
  EXPECT_FALSE(run(request(200, 40, 2)).ok());
}

// Four of the five stripes are the session's, the last one for the copy of the page that it ends in.
TEST_F(AdmissionTest, AForkNeedsThePageThatItCopies) {
  load(kStories, {.context = 256, .batch = 1, .chunk = 64, .prefix_cache = false});
  Sequence session = core_->new_sequence();
  ASSERT_TRUE(run(request(220, 2), session).ok());
  std::list<Sequence> forks;
  for (int i = 0; i < 2; ++i) forks.push_back(session.fork());
  EXPECT_TRUE(run(request(3, 4), forks.front()).ok());
  const auto refused = run(request(3, 4), forks.back());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kLimit);
  forks.pop_front();
  EXPECT_TRUE(run(request(3, 4), forks.back()).ok());
}

// New pages alone would not fit beside those that windows have not passed yet.
TEST_F(AdmissionTest, PagesThatWindowsPassOnTheWayCountOnce) {
  load(kWindows, {.context = 448, .batch = 1, .chunk = 48, .prefix_cache = true});
  Sequence session = core_->new_sequence();
  ASSERT_TRUE(run(request(130, 1), session).ok());
  const auto rest = run(request(280, 20, 5), session);
  ASSERT_TRUE(rest.ok()) << rest.error().message;
  EXPECT_EQ(rest->tokens.size(), 20u);
}

TEST_F(AdmissionTest, ScoresAreRefusedBeforeTheyBegin) {
  const std::string path = std::string(LOCI_SOURCE_DIR) + "/" + kStories;
  Engine engine = std::move(*Engine::load(path, {.context = 256, .batch = 1, .chunk = 64}));
  Session session = std::move(*engine.open_session());
  ASSERT_TRUE(session.generate(request(190, 2)).ok());
  bool began = false;
  const auto scores = engine.score(request(130, 0).prompt, 0, nullptr, [&](const Progress&) { began = true; });
  ASSERT_FALSE(scores.ok());
  EXPECT_EQ(scores.error().code, ErrorCode::kLimit);
  EXPECT_FALSE(began);
  EXPECT_TRUE(engine.score(request(128, 0).prompt).ok());
}

TEST_F(AdmissionTest, ALoadedSessionTakesWhatThePrefixCacheAloneHolds) {
  const std::string path = std::string(LOCI_SOURCE_DIR) + "/" + kStories;
  Engine engine = std::move(*Engine::load(path, {.context = 256, .batch = 1, .chunk = 64}));
  const std::string file = testing::TempDir() + "/loci-admission-session";
  {
    Session session = std::move(*engine.open_session());
    ASSERT_TRUE(session.generate(request(200, 30)).ok());
    ASSERT_TRUE(session.save(file).ok());
  }
  for (size_t i = 1; i < 4; ++i) ASSERT_TRUE(engine.generate(request(200, 2, i)).ok());
  const auto loaded = engine.load_session(file);
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  std::remove(file.c_str());
}

// Sessions open, grow, fork, shrink and close at random. A request ends well if it was admitted, and is refused only if
// the pages that it needs are not there.
TEST_F(AdmissionTest, IsExactWithoutWindows) {
  for (const bool prefix_cache : {false, true}) {
    load(kStories, {.context = 256, .batch = 3, .chunk = 48, .prefix_cache = prefix_cache});
    std::mt19937 random(prefix_cache ? 11 : 12);
    const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
    std::list<Sequence> sessions;
    int refusals = 0;
    for (int step = 0; step < 150; ++step) {
      const auto chosen = [&]() -> Sequence& {
        return *std::next(sessions.begin(), static_cast<long>(below(sessions.size())));
      };
      const size_t action = sessions.empty() ? 0 : below(6);
      if (action == 0 && sessions.size() < 12) {
        sessions.push_back(core_->new_sequence());
      } else if (action == 1) {
        sessions.push_back(chosen().fork());
      } else if (action == 2 && below(2) == 0) {
        sessions.erase(std::next(sessions.begin(), static_cast<long>(below(sessions.size()))));
      } else {
        Sequence& session = chosen();
        const size_t had = session.tokens.size();
        const Request next = request(1 + below(90), static_cast<uint32_t>(below(40)), below(3));
        if (had + next.prompt.size() > 256) continue;
        const auto done = run(next, session);
        if (done.ok()) continue;
        ++refusals;
        ASSERT_EQ(done.error().message.find("the cache is full"), std::string::npos) << done.error().message;
        ASSERT_EQ(session.tokens.size(), had);
        const size_t all = had + next.prompt.size();
        const size_t most_fed = std::max(all, std::min<size_t>(256, all + next.max_new_tokens) - 1);
        ASSERT_FALSE(pages_are_there(session, static_cast<uint32_t>(most_fed))) << "step " << step;
      }
    }
    EXPECT_GT(refusals, 5);
    EXPECT_LE(core_->pages().counters().peak_bytes, core_->layout().memory.kv_bytes + core_->layout().fork_bytes);
    sessions.clear();
    while (evict_one()) continue;
    EXPECT_EQ(bytes_in_use(), 0u);
  }
}

// The same in batches, with a model whose windows pass and with plans that take entries out: nothing that was admitted
// runs out of pages, and what waits for sessions alone is refused.
TEST_F(AdmissionTest, NothingAdmittedRunsOutOfPages) {
  for (const auto& [model, plan] : {std::pair{kStories, "dense"},
                                    {kWindows, "dense"},
                                    {kStories, "streaming(sinks=4,window=60)@1-:h0-1"},
                                    {kStories, "snapkv(budget=40,window=8)@0-2; store=kv8"},
                                    {kWindows, "snapkv(budget=40,window=8)"}}) {
    for (const bool prefix_cache : {false, true}) {
      load(model, {.context = 320, .batch = 3, .chunk = 48, .attention = plan, .prefix_cache = prefix_cache});
      std::mt19937 random(7);
      const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
      std::list<Sequence> sessions;
      int done = 0, refused = 0;
      for (int round = 0; round < 12; ++round) {
        for (const size_t kept = below(12); sessions.size() > kept;) sessions.pop_front();
        sessions.push_back(core_->new_sequence());
        static_cast<void>(run(request(1 + below(200), 3, below(2)), sessions.back()));
        sessions.push_back(sessions.back().fork());
        static_cast<void>(run(request(1 + below(60), 3, below(2)), sessions.back()));
        std::vector<Request> requests;
        for (size_t i = 0; i < 4; ++i) {
          requests.push_back(request(1 + below(280), static_cast<uint32_t>(1 + below(40)), below(2)));
        }
        for (const auto& result : Scheduler(*core_, *tokenizer_).run(requests)) {
          done += result.ok();
          refused += !result.ok();
          if (result.ok()) continue;
          ASSERT_EQ(result.error().code, ErrorCode::kLimit);
          ASSERT_NE(result.error().message.find("open sessions hold"), std::string::npos) << result.error().message;
        }
      }
      EXPECT_GT(done, 10) << model << " " << plan;
      if (std::string_view(plan) == "dense") {
        EXPECT_GT(refused, 0) << model;
      }
      EXPECT_LE(core_->pages().counters().peak_bytes, core_->layout().memory.kv_bytes + core_->layout().fork_bytes);
    }
  }
}

}  // namespace
}  // namespace loci
