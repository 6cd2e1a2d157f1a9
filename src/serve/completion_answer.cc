#include "serve/completion_answer.h"

#include "base/error.h"
#include "serve/memory_event.h"
#include "serve/tool_calls.h"

namespace loci {

using nlohmann::ordered_json;

ordered_json CompletionAnswer::envelope(const char* object) const {
  return {{"id", head().id},
          {"object", object},
          {"created", head().created},
          {"model", head().model},
          {"system_fingerprint", head().fingerprint}};
}

void CompletionAnswer::send(const ordered_json& event) { write("data: " + dump(event) + "\n\n"); }

void CompletionAnswer::begin_events() {
  for (uint32_t i = 0; i < choices(); ++i) {
    if (chat()) send_piece(i, {{"role", "assistant"}, {"content", ""}}, nullptr);
    if (request().echo) send_piece(i, {{"text", echoed(i)}}, nullptr);
  }
}

// The prompt of a choice, as text.
std::string CompletionAnswer::echoed(uint32_t index) const {
  const auto& prompt = request().prompts[index / request().choices];
  if (const auto* words = std::get_if<std::string>(&prompt)) return *words;
  const Result<std::string> decoded = tokenizer().decode(std::get<std::vector<TokenId>>(prompt));
  return decoded.ok() ? *decoded : std::string();
}

// Chat: `delta` is the message's; else it has the text.
void CompletionAnswer::send_piece(uint32_t index, ordered_json delta, const char* finish) {
  Choice& of = choice(index);
  ordered_json out = envelope(chat() ? "chat.completion.chunk" : "text_completion");
  ordered_json one = {{"index", index}};
  if (chat()) {
    one["delta"] = std::move(delta);
  } else {
    one["text"] = delta.value("text", "");
  }
  one["logprobs"] = nullptr;
  if (request().logprobs && !of.tokens.empty()) {
    one["logprobs"] = chat() ? chat_logprobs(of.tokens) : text_logprobs(of.tokens, of.text.size());
    of.tokens.clear();
  }
  one["finish_reason"] = finish == nullptr ? ordered_json(nullptr) : ordered_json(finish);
  out["choices"] = ordered_json::array({std::move(one)});
  if (request().stream_usage) out["usage"] = nullptr;
  send(out);
}

void CompletionAnswer::text_event(uint32_t index, const std::string& text) {
  send_piece(index, {{chat() ? "content" : "text", text}}, nullptr);
}

// A piece without choices, which clients that know nothing of it pass over.
void CompletionAnswer::on_memory(uint32_t index, const MemoryPicture& picture) {
  if (!streams()) return;
  ordered_json out = envelope(chat() ? "chat.completion.chunk" : "text_completion");
  out["choices"] = ordered_json::array();
  if (request().stream_usage) out["usage"] = nullptr;
  out["memory"] = memory_json(index, picture);
  send(out);
}

ordered_json CompletionAnswer::chat_logprobs(const std::vector<TokenLogprob>& tokens) const {
  const auto entry = [&](TokenId token, float logprob) -> ordered_json {
    const std::string text = piece(token);
    ordered_json bytes = ordered_json::array();
    for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
    return {{"token", text}, {"logprob", logprob}, {"bytes", std::move(bytes)}};
  };
  ordered_json content = ordered_json::array();
  for (const TokenLogprob& token : tokens) {
    ordered_json one = entry(token.token, token.logprob);
    one["top_logprobs"] = ordered_json::array();
    for (const TokenChance& chance : token.top) one["top_logprobs"].push_back(entry(chance.token, chance.logprob));
    content.push_back(std::move(one));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

ordered_json CompletionAnswer::text_logprobs(const std::vector<TokenLogprob>& tokens, size_t text_offset) const {
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
  return {{"prompt_tokens", summary().prompt_tokens},
          {"completion_tokens", summary().completion_tokens},
          {"total_tokens", summary().prompt_tokens + summary().completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", summary().cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", 0}}},
          {"kept_tokens", summary().kept_tokens},
          {"kv_bytes", summary().kv_bytes}};
}

void CompletionAnswer::choice_ended(uint32_t index) {
  Choice& of = choice(index);
  if (request().has_tools()) {
    const ToolCalls found = find_tool_calls(of.text, request().tools, fmt::format("{}-{}", head().id, index));
    if (!found.content.empty()) send_piece(index, {{"content", found.content}}, nullptr);
    ordered_json calls = found.calls;
    for (size_t i = 0; i < calls.size(); ++i) {
      calls[i]["index"] = i;
      send_piece(index, {{"tool_calls", ordered_json::array({calls[i]})}}, nullptr);
    }
    if (!calls.empty()) of.finish = "tool_calls";
  }
  send_piece(index, ordered_json::object(), of.finish.c_str());
}

void CompletionAnswer::end_events() {
  if (request().stream_usage) {
    ordered_json last = envelope(chat() ? "chat.completion.chunk" : "text_completion");
    last["choices"] = ordered_json::array();
    last["usage"] = usage();
    send(last);
  }
  write("data: [DONE]\n\n");
}

void CompletionAnswer::error_event(const ApiError& error) { write("data: " + error.json() + "\n\n"); }

ordered_json CompletionAnswer::whole_choice(uint32_t index) {
  Choice& of = choice(index);
  ordered_json out = {{"index", index}};
  if (chat()) {
    ordered_json message = {{"role", "assistant"}, {"content", of.text}, {"refusal", nullptr}};
    if (request().has_tools()) {
      const ToolCalls found = find_tool_calls(of.text, request().tools, fmt::format("{}-{}", head().id, index));
      if (!found.calls.empty()) {
        message["content"] = found.content.empty() ? ordered_json(nullptr) : ordered_json(found.content);
        message["tool_calls"] = found.calls;
        of.finish = "tool_calls";
      }
    }
    out["message"] = std::move(message);
  } else {
    out["text"] = request().echo ? echoed(index) + of.text : of.text;
  }
  out["logprobs"] = nullptr;
  if (request().logprobs) out["logprobs"] = chat() ? chat_logprobs(of.tokens) : text_logprobs(of.tokens, 0);
  out["finish_reason"] = of.finish;
  return out;
}

ordered_json CompletionAnswer::whole() {
  ordered_json out = envelope(chat() ? "chat.completion" : "text_completion");
  out["choices"] = ordered_json::array();
  for (uint32_t i = 0; i < choices(); ++i) out["choices"].push_back(whole_choice(i));
  out["usage"] = usage();
  return out;
}

}  // namespace loci
