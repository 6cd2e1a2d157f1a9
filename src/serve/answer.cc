#include "serve/answer.h"

#include "base/error.h"
#include "serve/memory_event.h"

namespace loci {
namespace {

using nlohmann::ordered_json;

std::string dump(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

const char* finish_of(Finish finish) { return finish == Finish::kLength ? "length" : "stop"; }

}  // namespace

CompletionAnswer::CompletionAnswer(std::shared_ptr<Exchange> exchange, CompletionRequest request, AnswerHead head,
                                   const Tokenizer& tokenizer, std::function<void(const AnswerSummary&)> on_end)
    : exchange_(std::move(exchange)),
      request_(std::move(request)),
      head_(std::move(head)),
      tokenizer_(tokenizer),
      on_end_(std::move(on_end)),
      choices_((request_.chat ? 1 : request_.prompts.size()) * request_.choices),
      open_(static_cast<uint32_t>(choices_.size())) {
  summary_.begun = Clock::now();
}

void CompletionAnswer::admitted() {
  if (summary_.admitted == Clock::time_point()) summary_.admitted = Clock::now();
  if (request_.stream && !streaming_ && !failed_) open_stream();
}

ordered_json CompletionAnswer::envelope(const char* object) const {
  return {{"id", head_.id},
          {"object", object},
          {"created", head_.created},
          {"model", head_.model},
          {"system_fingerprint", head_.fingerprint}};
}

void CompletionAnswer::open_stream() {
  streaming_ = true;
  HttpReply head{.status = 200, .headers = head_.headers, .body = {}};
  head.headers.emplace_back("Content-Type", "text/event-stream; charset=utf-8");
  head.headers.emplace_back("Cache-Control", "no-cache");
  head.headers.emplace_back("X-Accel-Buffering", "no");
  exchange_->begin_stream(std::move(head));
  for (uint32_t i = 0; i < choices(); ++i) {
    if (request_.chat) send_piece(i, {{"role", "assistant"}, {"content", ""}}, nullptr);
    if (request_.echo) {
      if (const auto* text = std::get_if<std::string>(&request_.prompts[i / request_.choices]))
        send_piece(i, {{"text", *text}}, nullptr);
    }
  }
}

void CompletionAnswer::send(const ordered_json& event) { exchange_->write("data: " + dump(event) + "\n\n"); }

// Chat: `delta` is the message's; else it has the text.
void CompletionAnswer::send_piece(uint32_t index, ordered_json delta, const char* finish) {
  Choice& choice = choices_[index];
  ordered_json out = envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  ordered_json one = {{"index", index}};
  if (request_.chat) {
    one["delta"] = std::move(delta);
  } else {
    one["text"] = delta.value("text", "");
  }
  one["logprobs"] = nullptr;
  if (request_.logprobs && !choice.tokens.empty()) {
    one["logprobs"] = logprobs(choice.tokens, choice.text.size());
    choice.tokens.clear();
  }
  one["finish_reason"] = finish == nullptr ? ordered_json(nullptr) : ordered_json(finish);
  out["choices"] = ordered_json::array({std::move(one)});
  if (request_.stream_usage) out["usage"] = nullptr;
  send(out);
}

void CompletionAnswer::on_token(uint32_t choice, const TokenLogprob& token) {
  choices_[choice].tokens.push_back(token);
}

void CompletionAnswer::on_text(uint32_t index, std::string_view text) {
  if (failed_) return;
  if (summary_.first_text == Clock::time_point()) summary_.first_text = Clock::now();
  Choice& choice = choices_[index];
  const std::string piece(text);
  // Whether it is a call is known at the end.
  if (streaming_ && !request_.has_tools()) {
    if (request_.chat) {
      send_piece(index, {{"content", piece}}, nullptr);
    } else {
      send_piece(index, {{"text", piece}}, nullptr);
    }
    if (request_.logprobs && !request_.chat) choice.text += piece;  // offsets count it
    return;
  }
  choice.text += piece;
}

// A piece without choices, which clients that know nothing of it pass over.
void CompletionAnswer::on_memory(uint32_t index, const MemoryPicture& picture) {
  if (failed_ || !streaming_) return;
  ordered_json out = envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
  out["choices"] = ordered_json::array();
  if (request_.stream_usage) out["usage"] = nullptr;
  out["memory"] = memory_json(index, picture);
  send(out);
}

std::string CompletionAnswer::piece(TokenId token) const {
  const Result<std::string> text = tokenizer_.piece(token, true);
  return text.ok() ? *text : std::string();
}

ordered_json CompletionAnswer::logprobs(const std::vector<TokenLogprob>& tokens, size_t text_offset) const {
  const auto bytes_of = [](const std::string& text) {
    ordered_json bytes = ordered_json::array();
    for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
    return bytes;
  };
  if (request_.chat) {
    ordered_json content = ordered_json::array();
    const auto entry = [&](TokenId token, float logprob) -> ordered_json {
      const std::string text = piece(token);
      return {{"token", text}, {"logprob", logprob}, {"bytes", bytes_of(text)}};
    };
    for (const TokenLogprob& token : tokens) {
      ordered_json one = entry(token.token, token.logprob);
      one["top_logprobs"] = ordered_json::array();
      for (const TokenChance& chance : token.top) one["top_logprobs"].push_back(entry(chance.token, chance.logprob));
      content.push_back(std::move(one));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }
  ordered_json out = {{"tokens", ordered_json::array()},
                      {"token_logprobs", ordered_json::array()},
                      {"top_logprobs", ordered_json::array()},
                      {"text_offset", ordered_json::array()}};
  for (const TokenLogprob& token : tokens) {
    const std::string text = piece(token.token);
    out["tokens"].push_back(text);
    out["token_logprobs"].push_back(token.logprob);
    ordered_json named = ordered_json::object();
    for (const TokenChance& chance : token.top) named[piece(chance.token)] = chance.logprob;
    out["top_logprobs"].push_back(std::move(named));
    out["text_offset"].push_back(text_offset);
    text_offset += text.size();
  }
  return out;
}

ordered_json CompletionAnswer::usage() const {
  return {{"prompt_tokens", summary_.prompt_tokens},
          {"completion_tokens", summary_.completion_tokens},
          {"total_tokens", summary_.prompt_tokens + summary_.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", summary_.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", 0}}},
          {"kept_tokens", summary_.kept_tokens},
          {"kv_bytes", summary_.kv_bytes}};
}

// A choice of a stream has ended.
void CompletionAnswer::finish_choice(uint32_t index) {
  Choice& choice = choices_[index];
  if (request_.has_tools()) {
    const ToolCalls found = find_tool_calls(choice.text, request_.tools, fmt::format("{}-{}", head_.id, index));
    if (!found.content.empty()) send_piece(index, {{"content", found.content}}, nullptr);
    if (!found.calls.empty()) {
      ordered_json calls = found.calls;
      for (size_t i = 0; i < calls.size(); ++i) {
        calls[i]["index"] = i;
        send_piece(index, {{"tool_calls", ordered_json::array({calls[i]})}}, nullptr);
      }
      choice.finish = "tool_calls";
    }
  }
  send_piece(index, ordered_json::object(), choice.finish.c_str());
}

ordered_json CompletionAnswer::whole_choice(uint32_t index) {
  Choice& choice = choices_[index];
  ordered_json out = {{"index", index}};
  if (request_.chat) {
    ordered_json message = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    if (request_.has_tools()) {
      const ToolCalls found = find_tool_calls(choice.text, request_.tools, fmt::format("{}-{}", head_.id, index));
      if (!found.calls.empty()) {
        message["content"] = found.content.empty() ? ordered_json(nullptr) : ordered_json(found.content);
        message["tool_calls"] = found.calls;
        choice.finish = "tool_calls";
      }
    }
    out["message"] = std::move(message);
  } else {
    std::string text = choice.text;
    if (request_.echo) {
      const auto& prompt = request_.prompts[index / request_.choices];
      if (const auto* words = std::get_if<std::string>(&prompt)) {
        text = *words + text;
      } else if (const auto decoded = tokenizer_.decode(std::get<std::vector<TokenId>>(prompt)); decoded.ok()) {
        text = *decoded + text;
      }
    }
    out["text"] = std::move(text);
  }
  out["logprobs"] = request_.logprobs ? logprobs(choice.tokens, 0) : ordered_json(nullptr);
  out["finish_reason"] = choice.finish;
  return out;
}

void CompletionAnswer::on_done(uint32_t index, Result<Completion> done) {
  Choice& choice = choices_[index];
  --open_;
  if (!done.ok()) {
    end_with(api_error(done.error()));
  } else if (done->finish == Finish::kCancelled) {
    end_with({.status = 504,
              .message = "the request was ended before its answer was complete: its time is over or the server stops",
              .type = "server_error",
              .code = "timeout"});
  } else {
    choice.finish = finish_of(done->finish);
    if (index == 0) summary_.finish = choice.finish;
    if (index % request_.choices == 0) {
      summary_.prompt_tokens += done->prompt_tokens;
      summary_.cached_tokens += done->cached_tokens;
    }
    summary_.completion_tokens += done->tokens.size();
    summary_.kept_tokens += done->kept_tokens;
    summary_.kv_bytes += done->kv_bytes;
    if (summary_.first_text == Clock::time_point()) summary_.first_text = Clock::now();
    if (streaming_ && !failed_) finish_choice(index);
  }
  if (open_ == 0) end();
}

void CompletionAnswer::end_with(const ApiError& error) {
  if (failed_) return;
  failed_ = true;
  summary_.status = error.status;
  summary_.finish = error.code;
  if (streaming_) {
    exchange_->write("data: " + error.json() + "\n\n");
    exchange_->end_stream();
  } else {
    HttpReply reply = error_reply(error);
    reply.headers.insert(reply.headers.end(), head_.headers.begin(), head_.headers.end());
    exchange_->reply(std::move(reply));
  }
}

void CompletionAnswer::end() {
  summary_.ended = Clock::now();
  if (!failed_ && streaming_) {
    if (request_.stream_usage) {
      ordered_json last = envelope(request_.chat ? "chat.completion.chunk" : "text_completion");
      last["choices"] = ordered_json::array();
      last["usage"] = usage();
      send(last);
    }
    exchange_->write("data: [DONE]\n\n");
    exchange_->end_stream();
  } else if (!failed_) {
    ordered_json out = envelope(request_.chat ? "chat.completion" : "text_completion");
    out["choices"] = ordered_json::array();
    for (uint32_t i = 0; i < choices(); ++i) out["choices"].push_back(whole_choice(i));
    out["usage"] = usage();
    HttpReply reply = json_reply(200, dump(out));
    reply.headers.insert(reply.headers.end(), head_.headers.begin(), head_.headers.end());
    exchange_->reply(std::move(reply));
  }
  if (on_end_) on_end_(summary_);
  exchange_.reset();
}

namespace {

// The end of the JSON object that begins at `begin`, or npos.
size_t object_end(std::string_view text, size_t begin) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return std::string_view::npos;
}

bool known_tool(const nlohmann::json& tools, const std::string& name) {
  for (const auto& tool : tools) {
    if (tool.contains("function") && tool["function"].value("name", "") == name) return true;
  }
  return false;
}

}  // namespace

ToolCalls find_tool_calls(std::string_view text, const nlohmann::json& tools, const std::string& id) {
  constexpr std::string_view kOpen = "<tool_call>";
  constexpr size_t kMostCalls = 64;
  ToolCalls out;
  out.calls = ordered_json::array();
  size_t content_end = std::string_view::npos;
  for (size_t at = text.find('{'); at != std::string_view::npos && out.calls.size() < kMostCalls;) {
    const size_t end = object_end(text, at);
    if (end == std::string_view::npos) break;
    const auto call = ordered_json::parse(text.substr(at, end - at), nullptr, /*allow_exceptions=*/false);
    if (call.is_object() && call.contains("name") && call["name"].is_string() &&
        known_tool(tools, call["name"].get<std::string>())) {
      const char* const key = call.contains("arguments") ? "arguments" : "parameters";
      const ordered_json arguments = call.contains(key) ? call[key] : ordered_json::object();
      out.calls.push_back({{"id", fmt::format("call_{}_{}", id, out.calls.size())},
                           {"type", "function"},
                           {"function",
                            {{"name", call["name"]},
                             {"arguments", arguments.is_string() ? arguments.get<std::string>() : dump(arguments)}}}});
      content_end = std::min(content_end, at);
    }
    at = text.find('{', end);
  }
  std::string_view content = text.substr(0, content_end);
  if (const size_t tag = content.rfind(kOpen); !out.calls.empty() && tag != std::string_view::npos)
    content = content.substr(0, tag);
  if (!out.calls.empty()) {
    while (!content.empty() && (content.back() == '\n' || content.back() == ' ')) content.remove_suffix(1);
  }
  out.content = std::string(content);
  return out;
}

}  // namespace loci
