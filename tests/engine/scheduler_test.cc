// Who runs when: admission, waiting, and what happens when the memory that was counted on is not there.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "io/model_file.h"

namespace loci {
namespace {

class Admission : public testing::Test {
 protected:
  void load(EngineOptions options) {
    file_ = std::move(*open_model_file(std::string(LOCI_SOURCE_DIR) + "/models/stories260k.gguf"));
    tokenizer_ = std::move(*Tokenizer::load(*file_));
    options.prefix_cache = false;
    core_ = std::move(*Core::load(*file_, options));
  }

  // A request whose passes are noted down.
  Request request(size_t prompt, uint32_t tokens) {
    Request out;
    const size_t index = count_++;
    for (size_t i = 0; i < prompt; ++i) out.prompt.push_back(static_cast<TokenId>(10 + (i * 7 + index) % 300));
    out.max_new_tokens = tokens;
    out.ignore_eos = true;
    out.on_progress = [this, index](const Progress&) { passes_.push_back(index); };
    return out;
  }

  std::vector<Result<Completion>> run(std::span<const Request> requests) {
    return Scheduler(*core_, *tokenizer_).run(requests);
  }

  size_t first_pass(size_t index) const {
    return static_cast<size_t>(std::find(passes_.begin(), passes_.end(), index) - passes_.begin());
  }
  size_t last_pass(size_t index) const {
    return passes_.size() - static_cast<size_t>(std::find(passes_.rbegin(), passes_.rend(), index) - passes_.rbegin());
  }

  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Core> core_;
  std::vector<size_t> passes_;  // whose, in order
  size_t count_ = 0;
};

// The cache holds two sequences of 256 tokens.
TEST_F(Admission, ARequestWaitsForMemoryUntilAnotherEnds) {
  load({.context = 256, .batch = 2, .chunk = 64});
  std::vector<Request> requests = {request(200, 56), request(150, 5), request(180, 5), request(90, 6), request(60, 3)};
  const auto together = run(requests);
  EXPECT_LE(core_->pages().counters().peak_bytes, core_->layout().memory.kv_bytes);
  EXPECT_EQ(core_->pages().counters().bytes_in_use, 0u);
  for (size_t i = 2; i < requests.size(); ++i) {
    EXPECT_GT(first_pass(i), last_pass(i - 1) - 1) << i << " began before " << i - 1 << " had ended";
    EXPECT_LT(last_pass(i), last_pass(0)) << i << " waited for more than one to end";
  }
  for (size_t at = 0; at < passes_.size(); ++at) {
    size_t alive = 0;
    for (size_t i = 0; i < requests.size(); ++i) alive += first_pass(i) <= at && at < last_pass(i);
    ASSERT_LE(alive, 2u) << "at pass " << at;
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(together[i].ok()) << together[i].error().message;
    EXPECT_EQ(together[i]->tokens, run(std::span(&requests[i], 1))[0]->tokens) << i;
  }
}

TEST_F(Admission, OneThatIsRefusedOrCancelledLetsTheNextIn) {
  load({.context = 128, .batch = 1, .chunk = 32});
  std::atomic<bool> cancelled = true;
  std::vector<Request> requests = {request(40, 5), request(129, 5), request(40, 5), request(40, 5)};
  requests[2].cancelled = &cancelled;
  const auto results = run(requests);
  EXPECT_TRUE(results[0].ok());
  ASSERT_FALSE(results[1].ok());
  EXPECT_EQ(results[1].error().code, ErrorCode::kLimit);
  ASSERT_TRUE(results[2].ok());
  EXPECT_EQ(results[2]->finish, Finish::kCancelled);
  ASSERT_TRUE(results[3].ok());
  EXPECT_EQ(results[3]->tokens.size(), 5u);
  EXPECT_EQ(core_->pages().counters().bytes_in_use, 0u);
}

// Of ten stripes of 64 tokens the session holds three, and each request comes to four.
TEST_F(Admission, ARequestWaitsBesideASessionThatLeavesRoomForOne) {
  load({.context = 256, .batch = 2, .chunk = 64});
  Sequence session = core_->new_sequence();
  Scheduler scheduler(*core_, *tokenizer_);
  ASSERT_TRUE(scheduler.run(request(190, 2), session).ok());
  passes_.clear();
  std::vector<Request> requests = {request(200, 40), request(195, 60)};
  const auto results = run(requests);
  for (const auto& result : results) ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(results[0]->tokens.size(), 40u);
  EXPECT_EQ(results[1]->tokens.size(), 60u);
  EXPECT_GT(first_pass(2), last_pass(1) - 1);
  EXPECT_TRUE(scheduler.run(request(5, 2), session).ok());
}

// What was promised can be missing all the same, when the system has no memory left. Here the pages are taken away.
TEST_F(Admission, MemoryThatIsMissingCostsOnlyTheYoungestRequest) {
  load({.context = 256, .batch = 2, .chunk = 64});
  std::vector<Request> requests = {request(200, 40), request(195, 60)};
  Sequence thief = core_->new_sequence();
  requests[0].on_progress = [&](const Progress&) {
    if (thief.cache.tables(LayerId(0))[0].stripes() == 0) {
      ASSERT_TRUE(thief.cache.reserve(190).ok());
    }
  };
  const auto results = run(requests);
  ASSERT_TRUE(results[0].ok()) << results[0].error().message;
  EXPECT_EQ(results[0]->tokens.size(), 40u);
  ASSERT_FALSE(results[1].ok());
  EXPECT_EQ(results[1].error().code, ErrorCode::kLimit);
  EXPECT_NE(results[1].error().message.find("MiB"), std::string::npos);
}

}  // namespace
}  // namespace loci
