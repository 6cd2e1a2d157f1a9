// The answer to a request for text: collects what the engine says of every choice, keeps the accounts, and has it sent
// in pieces as they come or whole at the end. What the pieces look like is a subclass's: completion_answer.h,
// response_answer.h.
//
// Born in the thread that reads requests; from submission on its functions come in the engine's thread, one at a time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/completion_request.h"
#include "serve/engine_loop.h"
#include "serve/http.h"
#include "text/tokenizer.h"

namespace loci {

// How it went: for logs, metrics and the limits of keys.
struct AnswerSummary {
  using Clock = std::chrono::steady_clock;
  int status = 200;    // 499: the client went away
  std::string finish;  // of the first choice, or the error
  // What was read and generated, ended before its time or not.
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t kept_tokens = 0;
  uint64_t kv_bytes = 0;
  Clock::time_point begun;  // when the request had come whole
  Clock::time_point admitted;
  Clock::time_point first_text;  // or token; zero: none came
  Clock::time_point ended;
};

struct AnswerHead {
  std::string id;  // "chatcmpl-..."
  int64_t created = 0;
  std::string model;
  std::string fingerprint;
  HttpHeaders headers = {};  // of the reply
  AnswerSummary::Clock::time_point begun;
};

class TextAnswer {
 public:
  using Clock = AnswerSummary::Clock;

  // `tokenizer` outlives it. `on_end` runs once, when the last choice has ended.
  TextAnswer(std::shared_ptr<Exchange> exchange, CompletionRequest request, AnswerHead head, const Tokenizer& tokenizer,
             std::function<void(const AnswerSummary&)> on_end);
  virtual ~TextAnswer() = default;
  TextAnswer(const TextAnswer&) = delete;
  TextAnswer& operator=(const TextAnswer&) = delete;

  // `call` runs once if a choice fails: the others are of no use any more.
  void on_failure(std::function<void()> call) { on_failure_ = std::move(call); }

  void admitted();
  void on_token(uint32_t choice, const TokenLogprob& token);
  void on_text(uint32_t choice, std::string_view text);
  // Before the on_done of choices that are cancelled.
  void cancelled(CancelCause cause) { cause_ = cause; }
  void on_done(uint32_t choice, Result<Completion> done);

 protected:
  struct Choice {
    std::string text;                  // all of it
    std::vector<TokenLogprob> tokens;  // that came since the last piece, or all of them
    std::string finish;                // "stop", "length"
  };

  // Of a stream, in this order.
  virtual void begin_events() = 0;
  virtual void text_event(uint32_t choice, const std::string& text) = 0;
  virtual void choice_ended(uint32_t choice) = 0;
  virtual void end_events() = 0;
  virtual void error_event(const ApiError& error) = 0;
  // The whole answer, if it is no stream.
  virtual nlohmann::ordered_json whole() = 0;

  bool streams() const { return streaming_ && !error_; }
  uint32_t choices() const { return static_cast<uint32_t>(choices_.size()); }  // of all prompts
  Choice& choice(uint32_t index) { return choices_[index]; }
  const CompletionRequest& request() const { return request_; }
  const AnswerHead& head() const { return head_; }
  const AnswerSummary& summary() const { return summary_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  std::string piece(TokenId token) const;
  void write(std::string text) { exchange_->write(std::move(text)); }

 private:
  void open_stream();
  void count(uint32_t index, const Completion& done);
  void end_with(const ApiError& error);
  void end();

  std::shared_ptr<Exchange> exchange_;
  CompletionRequest request_;
  AnswerHead head_;
  const Tokenizer& tokenizer_;
  std::function<void(const AnswerSummary&)> on_end_;
  std::function<void()> on_failure_;
  std::vector<Choice> choices_;
  uint32_t open_ = 0;  // choices without an end
  bool streaming_ = false;
  std::optional<ApiError> error_;  // of the first choice that failed
  CancelCause cause_ = CancelCause::kShutdown;
  AnswerSummary summary_;
};

// What is told of a request that was ended before its time.
ApiError cancelled_error(CancelCause cause);

// A JSON text; bytes that are no UTF-8 are replaced.
std::string dump(const nlohmann::ordered_json& value);

}  // namespace loci
