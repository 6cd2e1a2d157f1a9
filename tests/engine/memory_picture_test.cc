// What a request shows of its memory: every KV head in one row, numbers that agree with those of its completion, and no
// difference to its answer.
#include "engine/memory_picture.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/batcher.h"
#include "io/model_file.h"

namespace loci {
namespace {

class MemoryPictureTest : public testing::Test {
 protected:
  static constexpr uint32_t kPrompt = 200, kWritten = 21, kChunk = 64;

  void SetUp() override {
    file_ = std::move(*open_model_file(LOCI_SOURCE_DIR "/models/needle-14m-q8_0.gguf"));
    tokenizer_ = std::move(*Tokenizer::load(*file_));
    auto core = Core::load(*file_, {.threads = 2, .context = 512, .batch = 4, .chunk = kChunk});
    ASSERT_TRUE(core.ok()) << core.error().message;
    core_ = std::move(*core);
    batcher_ = std::make_unique<Batcher>(*core_, *tokenizer_);
  }

  BatchRequest request(const std::string& plan, uint32_t choices = 1) {
    BatchRequest out;
    out.plan = *core_->bind(plan);
    for (uint32_t c = 0; c < choices; ++c) {
      Request one{.max_new_tokens = kWritten, .ignore_eos = true, .salt = plan};
      one.sampling.temperature = choices > 1 ? 1.0F : 0.0F;
      one.sampling.seed = c;
      if (c == 0) {
        for (uint32_t i = 0; i < kPrompt; ++i) one.prompt.push_back(static_cast<TokenId>(10 + i * 7 % 300));
      }
      out.choices.push_back(std::move(one));
    }
    out.on_done = [this](uint32_t, Result<Completion> done) { completions_.push_back(std::move(*done)); };
    return out;
  }

  void run(BatchRequest of) {
    pictures_.clear();
    completions_.clear();
    batcher_->submit(std::move(of));
    while (!batcher_->idle()) batcher_->step();
  }

  // With a watch for every 5 steps.
  void watch(BatchRequest of, uint32_t stretches) {
    of.memory = {
        .every = 5, .stretches = stretches, .on_picture = [this](uint32_t choice, const MemoryPicture& picture) {
          pictures_.emplace_back(choice, picture);
        }};
    run(std::move(of));
  }

  std::unique_ptr<ModelFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<Batcher> batcher_;
  std::vector<std::pair<uint32_t, MemoryPicture>> pictures_;
  std::vector<Completion> completions_;
};

constexpr const char* kWatchedPlans[] = {"dense", "store=kv4", "retain=snapkv(budget=48,window=8)",
                                         "retain=streaming(sinks=4,window=64)",
                                         "retain=duo(ratio=0.5,sinks=4,window=32)"};

TEST_F(MemoryPictureTest, NumbersAgreeWithTheCompletion) {
  for (const std::string plan : kWatchedPlans) {
    watch(request(plan), 16);
    ASSERT_EQ(completions_.size(), 1u);
    const Completion& done = completions_[0];
    for (const auto& [choice, picture] : pictures_) {
      std::vector<int> seen(6 * 4);
      uint64_t bytes = 0, kept = 0;
      for (const HeldHeads& held : picture.heads) {
        for (const uint32_t head : held.kv_heads) ++seen[held.layer * 4 + head];
        bytes += held.bytes;
        kept += held.kept * held.kv_heads.size();
        EXPECT_LE(held.kept, picture.tokens);
        ASSERT_LE(held.where.size(), 16u);
        const auto stretch = static_cast<double>((picture.tokens + 15) / 16);
        double sum = 0;  // the last stretch may be shorter
        for (size_t s = 0; s < held.where.size(); ++s)
          sum += held.where[s] * std::min(stretch, picture.tokens - static_cast<double>(s) * stretch);
        EXPECT_NEAR(sum, static_cast<double>(held.kept), 0.01) << plan;
      }
      EXPECT_EQ(seen, std::vector<int>(6 * 4, 1)) << plan << ": every head in one row";
      EXPECT_EQ(bytes, picture.kv_bytes);
      if (!picture.last) continue;
      EXPECT_EQ(picture.kv_bytes, done.kv_bytes) << plan;
      EXPECT_EQ(kept / (6 * 4), done.kept_tokens) << plan;
      EXPECT_EQ(picture.generated, done.tokens.size());
      EXPECT_EQ(picture.decode_steps, done.decode_steps);
      EXPECT_GT(picture.prompt_seconds, 0);
    }
  }
}

TEST_F(MemoryPictureTest, ComeWithEveryChunkAndEveryFewSteps) {
  watch(request("dense"), 0);
  std::vector<uint32_t> tokens;
  for (const auto& [choice, picture] : pictures_) {
    tokens.push_back(picture.tokens);
    EXPECT_EQ(picture.last, &picture == &pictures_.back().second);
    EXPECT_TRUE(picture.heads[0].where.empty());
    EXPECT_EQ(picture.prompt_tokens, kPrompt);
  }
  EXPECT_EQ(tokens, (std::vector<uint32_t>{64, 128, 192, 200, 205, 210, 215, 220}));
  // What the prefix cache knows is not read again.
  watch(request("dense"), 0);
  EXPECT_EQ(pictures_[0].second.tokens, kPrompt);
  EXPECT_GE(pictures_[0].second.cached_tokens, 128u);
}

TEST_F(MemoryPictureTest, EvictionShowsWhenThePromptHasBeenRead) {
  watch(request("retain=snapkv(budget=48,window=8)"), 100);
  for (const auto& [choice, picture] : pictures_) {
    for (const HeldHeads& held : picture.heads) {
      EXPECT_EQ(held.kept, picture.tokens < kPrompt ? picture.tokens : 48 + picture.tokens - kPrompt);
      EXPECT_EQ(held.where.back(), 1.0F) << "the window and what was written";
    }
  }
}

TEST_F(MemoryPictureTest, ChoicesHaveTheirOwn) {
  watch(request("dense", 3), 0);
  std::vector<uint32_t> last(3);
  for (const auto& [choice, picture] : pictures_) last[choice] += picture.last ? 1 : 0;
  EXPECT_EQ(last, std::vector<uint32_t>(3, 1));
}

TEST_F(MemoryPictureTest, LookingChangesNoToken) {
  for (const std::string plan : kWatchedPlans) {
    run(request(plan));
    EXPECT_TRUE(pictures_.empty());
    const std::vector<TokenId> unseen = completions_.at(0).tokens;
    watch(request(plan), 64);
    EXPECT_EQ(completions_.at(0).tokens, unseen) << plan;
  }
}

}  // namespace
}  // namespace loci
