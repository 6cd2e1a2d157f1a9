// The answer to a completion: collects what the engine says of every choice and sends it, in pieces as they come or
// whole at the end, in the shapes of OpenAI's protocol.
//
// Born in the thread that reads requests; from submission on its functions come in the engine's thread, one at a time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/completion_request.h"
#include "serve/http.h"
#include "text/tokenizer.h"

namespace loci {

// How it went: for logs and metrics.
struct AnswerSummary {
  using Clock = std::chrono::steady_clock;
  int status = 200;
  std::string finish;  // of the first choice, or the error
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t kept_tokens = 0;
  uint64_t kv_bytes = 0;
  Clock::time_point begun;  // when the request had been read
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
};

class CompletionAnswer {
 public:
  using Clock = AnswerSummary::Clock;

  // `tokenizer` outlives it. `on_end` runs once, when the last choice has ended.
  CompletionAnswer(std::shared_ptr<Exchange> exchange, CompletionRequest request, AnswerHead head,
                   const Tokenizer& tokenizer, std::function<void(const AnswerSummary&)> on_end);

  const CompletionRequest& request() const { return request_; }
  // Choices of all prompts.
  uint32_t choices() const { return static_cast<uint32_t>(choices_.size()); }

  void admitted();
  void on_token(uint32_t choice, const TokenLogprob& token);
  void on_text(uint32_t choice, std::string_view text);
  void on_memory(uint32_t choice, const MemoryPicture& picture);
  void on_done(uint32_t choice, Result<Completion> done);

 private:
  struct Choice {
    std::string text;
    std::vector<TokenLogprob> tokens;  // that came since the last piece, or all of them
    std::string finish;
    bool tool_calls = false;
  };

  void open_stream();
  void send(const nlohmann::ordered_json& event);
  nlohmann::ordered_json envelope(const char* object) const;
  nlohmann::ordered_json usage() const;
  nlohmann::ordered_json logprobs(const std::vector<TokenLogprob>& tokens, size_t text_offset) const;
  std::string piece(TokenId token) const;
  void send_piece(uint32_t index, nlohmann::ordered_json delta, const char* finish);
  void finish_choice(uint32_t index);
  nlohmann::ordered_json whole_choice(uint32_t index);
  void end_with(const ApiError& error);
  void end();

  std::shared_ptr<Exchange> exchange_;
  CompletionRequest request_;
  AnswerHead head_;
  const Tokenizer& tokenizer_;
  std::function<void(const AnswerSummary&)> on_end_;
  std::vector<Choice> choices_;
  uint32_t open_ = 0;  // choices without an end
  bool streaming_ = false;
  bool failed_ = false;
  AnswerSummary summary_;
};

// A tool call that the model wrote, or nothing if `text` holds none: JSON objects with a "name" and "arguments" (or
// "parameters"), in <tool_call> tags, in a code block or alone.
struct ToolCalls {
  std::string content;           // the text before the first of them
  nlohmann::ordered_json calls;  // [{"id", "type", "function": {"name", "arguments"}}]
};
ToolCalls find_tool_calls(std::string_view text, const nlohmann::json& tools, const std::string& id);

}  // namespace loci
