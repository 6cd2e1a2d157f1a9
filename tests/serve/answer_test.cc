// What an answer tells its client and the accounts, however its choices end.
#include <gtest/gtest.h>

#include "io/model_file.h"
#include "serve/completion_answer.h"
#include "serve/response_answer.h"

namespace loci {
namespace {

using json = nlohmann::ordered_json;

struct FakeExchange final : Exchange {
  void reply(HttpReply one) override { replies.push_back(std::move(one)); }
  void begin_stream(HttpReply head) override { replies.push_back(std::move(head)); }
  void write(std::string piece) override { replies.back().body += piece; }
  void end_stream() override { ended = true; }
  void on_gone(std::function<void()>) override {}

  std::vector<HttpReply> replies;
  bool ended = false;
};

AnswerHead head_of(const char* id) {
  AnswerHead out;
  out.id = id;
  out.model = "m";
  return out;
}

class AnswerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto file = std::move(*open_model_file(LOCI_SOURCE_DIR "/models/stories260k.gguf"));
    tokenizer_ = std::move(*Tokenizer::load(*file)).release();
  }
  static void TearDownTestSuite() { delete tokenizer_; }

  template <typename Kind = CompletionAnswer>
  std::unique_ptr<TextAnswer> answer(CompletionRequest request) {
    auto out = std::make_unique<Kind>(exchange_, std::move(request), head_of("x"), *tokenizer_,
                                      [this](const AnswerSummary& summary) {
                                        summary_ = summary;
                                        ++ends_;
                                      });
    out->on_failure([this] { ++failures_; });
    return out;
  }
  static Completion completion(Finish finish, uint32_t tokens, uint32_t prompt = 10) {
    Completion out;
    out.finish = finish;
    out.tokens.assign(tokens, 5);
    out.prompt_tokens = prompt;
    return out;
  }
  static CompletionRequest choices(uint32_t n, bool stream = false) {
    CompletionRequest out;
    out.choices = n;
    out.stream = stream;
    return out;
  }
  std::vector<json> events() const {
    std::vector<json> out;
    const std::string& body = exchange_->replies.at(0).body;
    for (size_t at = body.find("data: {"); at != std::string::npos; at = body.find("data: {", at + 1))
      out.push_back(json::parse(body.substr(at + 6, body.find('\n', at) - at - 6)));
    return out;
  }

  static Tokenizer* tokenizer_;
  std::shared_ptr<FakeExchange> exchange_ = std::make_shared<FakeExchange>();
  AnswerSummary summary_;
  int ends_ = 0;
  int failures_ = 0;
};
Tokenizer* AnswerTest::tokenizer_ = nullptr;

TEST_F(AnswerTest, CancelledWorkIsCounted) {
  const auto of = answer(choices(1));
  of->admitted();
  of->cancelled(CancelCause::kDeadline);
  of->on_done(0, completion(Finish::kCancelled, 7, 4));
  EXPECT_EQ(ends_, 1);
  EXPECT_EQ(summary_.status, 504);
  EXPECT_EQ(summary_.prompt_tokens, 4u);
  EXPECT_EQ(summary_.completion_tokens, 7u);
}

TEST_F(AnswerTest, TheCauseOfAnEndIsItsStatus) {
  const std::vector<std::pair<CancelCause, int>> cases = {
      {CancelCause::kDeadline, 504}, {CancelCause::kShutdown, 503}, {CancelCause::kClient, 499}};
  for (const auto& [cause, status] : cases) {
    for (const bool waiting : {false, true}) {
      exchange_ = std::make_shared<FakeExchange>();
      const auto of = answer(choices(1));
      of->cancelled(cause);
      of->on_done(0, waiting ? Result<Completion>(Error{ErrorCode::kCancelled, "it waited"})
                             : Result<Completion>(completion(Finish::kCancelled, 1)));
      EXPECT_EQ(exchange_->replies.at(0).status, status);
      EXPECT_EQ(summary_.status, status);
    }
  }
}

// One status for all: who fails takes the others with it, and what they did is counted before it is told.
TEST_F(AnswerTest, OneChoiceThatFailsEndsTheOthers) {
  const auto of = answer(choices(3));
  of->admitted();
  of->on_done(1, Error{ErrorCode::kLimit, "too much"});
  EXPECT_EQ(failures_, 1);
  EXPECT_EQ(ends_, 0);
  of->cancelled(CancelCause::kClient);
  of->on_done(0, completion(Finish::kCancelled, 3));
  EXPECT_TRUE(exchange_->replies.empty());
  of->on_done(2, completion(Finish::kCancelled, 4));
  EXPECT_EQ(failures_, 1);
  EXPECT_EQ(ends_, 1);
  ASSERT_EQ(exchange_->replies.size(), 1u);
  EXPECT_EQ(exchange_->replies[0].status, 400);
  EXPECT_EQ(summary_.status, 400);
  EXPECT_EQ(summary_.completion_tokens, 7u);
}

TEST_F(AnswerTest, AStreamEchoesPromptsOfTokens) {
  CompletionRequest request = choices(1, true);
  request.kind = AnswerKind::kText;
  request.echo = true;
  const std::vector<TokenId> prompt = *tokenizer_->encode("Once upon a time");
  request.prompts = {prompt};
  const auto of = answer(request);
  of->admitted();
  ASSERT_FALSE(events().empty());
  EXPECT_EQ(events()[0]["choices"][0]["text"], *tokenizer_->decode(prompt));
}

TEST_F(AnswerTest, AResponseIsToldInEvents) {
  CompletionRequest request = choices(1, true);
  request.kind = AnswerKind::kResponse;
  const auto of = answer<ResponseAnswer>(request);
  of->admitted();
  of->on_text(0, "Hel");
  of->on_text(0, "lo");
  of->on_done(0, completion(Finish::kLength, 2));
  std::string types;
  for (const json& event : events()) types += event["type"].get<std::string>().substr(9) + ' ';
  EXPECT_EQ(types,
            "created in_progress output_item.added content_part.added output_text.delta output_text.delta "
            "output_text.done content_part.done output_item.done incomplete ");
  for (size_t i = 0; i < events().size(); ++i) EXPECT_EQ(events()[i]["sequence_number"], i);
  const json last = events().back()["response"];
  EXPECT_EQ(last["output"][0]["content"][0]["text"], "Hello");
  EXPECT_EQ(last["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(last["usage"]["total_tokens"], 12);
  EXPECT_TRUE(exchange_->ended);
}

TEST_F(AnswerTest, AResponseTellsCallsAsItems) {
  CompletionRequest request = choices(1);
  request.kind = AnswerKind::kResponse;
  request.tools = json::parse(R"([{"type": "function", "function": {"name": "f"}}])");
  const auto of = answer<ResponseAnswer>(request);
  of->on_text(0, "Well. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>");
  of->on_done(0, completion(Finish::kEnd, 2));
  const json out = json::parse(exchange_->replies.at(0).body);
  EXPECT_EQ(out["status"], "completed");
  ASSERT_EQ(out["output"].size(), 2u);
  EXPECT_EQ(out["output"][0]["content"][0]["text"], "Well.");
  EXPECT_EQ(out["output"][1]["type"], "function_call");
  EXPECT_EQ(out["output"][1]["arguments"], "{\"a\":1}");
}

}  // namespace
}  // namespace loci
