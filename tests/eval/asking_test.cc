// Choices, recalls and conversations on the model that ships.
#include "eval/asking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "eval/prompt_writer.h"
#include "eval/suite_fixture.h"

namespace loci {
namespace {

using testing::HasSubstr;

class AskingTest : public testing::Test {
 protected:
  static Engine load(const std::string& plan) {
    return std::move(
        *Engine::load(shipped_model(), {.context = 2048, .batch = 2, .attention = plan, .prefix_cache = false}));
  }

  static Prompt make(const Engine& engine, const Task& t, uint32_t length, uint32_t index = 0) {
    const PromptWriter writer(engine, false);
    std::vector<TokenId> vocabulary;
    if (t.asking == Asking::kRecall) vocabulary = *writer.vocabulary();
    SampleMaker maker(
        data(), {.seed = 5}, [&](const Sample& sample) { return writer.prompt(sample); },
        [&](std::string_view text) { return writer.count(text); }, std::move(vocabulary));
    Prompt prompt{{"", std::string(t.name), length, index}, &t, *maker.make(t, length, index), {}, {}, {}};
    if (!prompt.sized.sample.turns.empty()) {
      prompt.turns = *writer.turns(prompt.sized.sample, t.asking);
      prompt.context = *writer.context(prompt.sized.sample);
    }
    return prompt;
  }

  Result<PromptResult> run(Engine& engine, const Prompt& prompt, Referring referring = Referring::kNone) {
    return ask({engine, references_, referring, false, nullptr, {}}, prompt);
  }

  ReferenceStore references_;
};

TEST_F(AskingTest, TurnsReadWhatIsNewAndRequestsShareTheContext) {
  Engine engine = load("dense");
  for (const char* name : {"kv_turns", "kv_requests"}) {
    SCOPED_TRACE(name);
    const Prompt prompt = make(engine, task(name), 1536);
    EXPECT_LE(prompt.sized.tokens.size() + prompt.sized.answer_tokens, 1536U);
    const Result<PromptResult> done = run(engine, prompt);
    ASSERT_TRUE(done.ok()) << done.error().message;
    ASSERT_EQ(done->turns.size(), 5U);
    double sum = 0;
    for (size_t k = 0; k < 5; ++k) {
      const TurnResult& turn = done->turns[k];
      EXPECT_EQ(turn.read + turn.reused, prompt.turns[k].size());
      if (k > 0 || prompt.task->asking == Asking::kRequests) {
        EXPECT_GT(turn.reused, 700U) << k;
        EXPECT_LT(turn.read, 200U) << k;
      }
      if (prompt.task->asking == Asking::kRequests) {
        EXPECT_EQ(turn.reused, prompt.context.size()) << "the questions' common stem is no part of the context";
      }
      sum += turn.score;
    }
    EXPECT_DOUBLE_EQ(done->score, sum / 5);
    EXPECT_GE(done->score, 0.8) << done->text;
    EXPECT_FALSE(done->kl.has_value());
  }
}

// A conversation read in pieces answers as one read whole: sessions change nothing.
TEST_F(AskingTest, ATurnEqualsItsWholePromptReadAnew) {
  Engine engine = load("dense");
  const Prompt prompt = make(engine, task("kv_turns"), 1024);
  const Result<PromptResult> done = run(engine, prompt);
  ASSERT_TRUE(done.ok());
  for (size_t k = 0; k < prompt.turns.size(); ++k) {
    const Result<Completion> whole = engine.generate(
        Request{.prompt = prompt.turns[k], .max_new_tokens = prompt.sized.answer_tokens, .stop = {"\n"}});
    EXPECT_EQ(done->turns[k].text, whole->text) << k;
  }
}

// What an eviction method has dropped before it saw a question is gone for all requests.
TEST_F(AskingTest, RequestsSeeWhatIsLeftOfAContextReadAlone) {
  Engine engine = load("snapkv(budget=96,window=32)");
  const Result<PromptResult> done = run(engine, make(engine, task("kv_requests"), 1536));
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_LE(done->score, 0.4) << done->text;
  EXPECT_LT(done->kept_tokens, 400U);
}

TEST_F(AskingTest, ARecallCountsValuesAndIsComparedWithDense) {
  Engine dense = load("dense");
  const Prompt prompt = make(dense, task("mqar_sparse"), 512);
  const Result<PromptResult> done = run(dense, prompt, Referring::kWrites);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_THAT(done->text, HasSubstr(" of 31 values"));
  EXPECT_TRUE(references_.holds(prompt.key));
  const Result<PromptResult> again = run(dense, prompt, Referring::kReads);
  EXPECT_EQ(again->score, done->score);
  EXPECT_EQ(again->agreement, 1);
  EXPECT_LT(*again->kl, 1e-6);
  Engine blind = load("streaming(sinks=4,window=16)");
  const Result<PromptResult> lost = run(blind, prompt, Referring::kReads);
  ASSERT_TRUE(lost.ok()) << lost.error().message;
  EXPECT_GT(*lost->kl, *again->kl);
  EXPECT_LE(lost->score, done->score);
}

TEST_F(AskingTest, AChoiceIsTheLikelierLetter) {
  Engine engine = load("dense");
  for (const char* name : {"sort_20", "memory_first"}) {
    const Prompt prompt = make(engine, task(name), 1024);
    const Result<PromptResult> done = run(engine, prompt, Referring::kWrites);
    ASSERT_TRUE(done.ok()) << done.error().message;
    EXPECT_THAT(done->text, testing::AnyOf(" A", " B", "A", "B", "C"));
    EXPECT_EQ(done->decode_steps, 0U);
    const Result<PromptResult> again = run(engine, prompt, Referring::kReads);
    EXPECT_EQ(again->text, done->text);
    EXPECT_EQ(again->agreement, 1);
  }
}

TEST_F(AskingTest, AlikeChoicesAreRefused) {
  Engine engine = load("dense");
  Prompt prompt = make(engine, task("sort_20"), 1024);
  prompt.sized.sample.choices = {" A", " A"};
  const Result<PromptResult> done = run(engine, prompt);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(done.error().message, HasSubstr("sort_20"));
}

TEST_F(AskingTest, ACancelledConversationIsAnError) {
  Engine engine = load("dense");
  const std::atomic<bool> cancelled = true;
  for (const char* name : {"kv_turns", "kv_requests", "mqar", "sort_20"}) {
    const Prompt prompt = make(engine, task(name), 1024);
    const Result<PromptResult> done = ask({engine, references_, Referring::kNone, false, &cancelled, {}}, prompt);
    ASSERT_FALSE(done.ok()) << name;
    EXPECT_EQ(done.error().code, ErrorCode::kCancelled) << name;
  }
}

}  // namespace
}  // namespace loci
