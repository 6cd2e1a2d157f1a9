#include "serve/answer.h"

#include "base/error.h"

namespace loci {

using nlohmann::ordered_json;

std::string dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

TextAnswer::TextAnswer(std::shared_ptr<Exchange> exchange, CompletionRequest request, AnswerHead head,
                       const Tokenizer& tokenizer, std::function<void(const AnswerSummary&)> on_end)
    : exchange_(std::move(exchange)),
      request_(std::move(request)),
      head_(std::move(head)),
      tokenizer_(tokenizer),
      on_end_(std::move(on_end)),
      choices_((request_.chat() ? 1 : request_.prompts.size()) * request_.choices),
      open_(static_cast<uint32_t>(choices_.size())) {
  summary_.begun = head_.begun;
}

void TextAnswer::admitted() {
  if (summary_.admitted == Clock::time_point()) summary_.admitted = Clock::now();
  if (request_.stream && !streaming_ && !error_) open_stream();
}

void TextAnswer::open_stream() {
  streaming_ = true;
  HttpReply reply{.status = 200, .headers = head_.headers, .body = {}};
  reply.headers.emplace_back("Content-Type", "text/event-stream; charset=utf-8");
  reply.headers.emplace_back("Cache-Control", "no-cache");
  reply.headers.emplace_back("X-Accel-Buffering", "no");
  exchange_->begin_stream(std::move(reply));
  begin_events();
}

void TextAnswer::on_token(uint32_t choice, const TokenLogprob& token) { choices_[choice].tokens.push_back(token); }

void TextAnswer::on_text(uint32_t index, std::string_view text) {
  if (error_) return;
  if (summary_.first_text == Clock::time_point()) summary_.first_text = Clock::now();
  // Whether it is a call is known at the end.
  if (streaming_ && !request_.has_tools()) text_event(index, std::string(text));
  choices_[index].text += text;
}

std::string TextAnswer::piece(TokenId token) const {
  const Result<std::string> text = tokenizer_.piece(token, true);
  return text.ok() ? *text : std::string();
}

void TextAnswer::count(uint32_t index, const Completion& done) {
  if (index % request_.choices == 0) {  // who has read the prompt
    summary_.prompt_tokens += done.prompt_tokens;
    summary_.cached_tokens += done.cached_tokens;
  }
  summary_.completion_tokens += done.tokens.size();
  summary_.kept_tokens += done.kept_tokens;
  summary_.kv_bytes += done.kv_bytes;
}

ApiError cancelled_error(CancelCause cause) {
  switch (cause) {
    case CancelCause::kDeadline:
      return {.status = 504,
              .message = "The answer was not complete when the time for it was over",
              .type = "server_error",
              .code = "timeout"};
    case CancelCause::kClient:
      return {.status = 499, .message = "The client went away", .code = "client_gone"};
    case CancelCause::kShutdown:
      break;
  }
  return kShuttingDown;
}

void TextAnswer::on_done(uint32_t index, Result<Completion> done) {
  --open_;
  if (done.ok()) count(index, *done);
  const bool cancelled = done.ok() ? done->finish == Finish::kCancelled : done.error().code == ErrorCode::kCancelled;
  if (cancelled) {
    end_with(cancelled_error(cause_));
  } else if (!done.ok()) {
    end_with(api_error(done.error()));
  } else if (!error_) {
    choices_[index].finish = done->finish == Finish::kLength ? "length" : "stop";
    if (index == 0) summary_.finish = choices_[index].finish;
    if (summary_.first_text == Clock::time_point()) summary_.first_text = Clock::now();
    if (streaming_) choice_ended(index);
  }
  if (open_ == 0) end();
}

// What is wrong is told when the other choices have ended, too: then it is known what there is to account for.
void TextAnswer::end_with(const ApiError& error) {
  if (error_) return;
  error_ = error;
  summary_.status = error.status;
  summary_.finish = error.code;
  if (open_ > 0 && on_failure_) on_failure_();
}

// Accounts first: who has an answer and asks again finds it counted.
void TextAnswer::end() {
  summary_.ended = Clock::now();
  if (on_end_) on_end_(summary_);
  if (streaming_) {
    if (error_) {
      error_event(*error_);
    } else {
      end_events();
    }
    exchange_->end_stream();
  } else {
    HttpReply reply = error_ ? error_reply(*error_) : json_reply(200, dump(whole()));
    reply.headers.insert(reply.headers.end(), head_.headers.begin(), head_.headers.end());
    exchange_->reply(std::move(reply));
  }
  on_failure_ = nullptr;
  exchange_.reset();
}

}  // namespace loci
