// The requests of /v1/chat/completions, /v1/completions and /v1/responses, read and checked: everything that does not
// need the model.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/memory_picture.h"
#include "loci/loci.h"
#include "serve/api_error.h"

namespace loci {

struct RequestLimits {
  uint32_t vocabulary = 0;
  uint32_t context = 0;
  uint32_t choices = 16;  // of one prompt, and prompts times choices
  size_t messages = 4096;
  size_t text_bytes = size_t{16} << 20;  // of one string
};

using TextOrTokens = std::variant<std::string, std::vector<TokenId>>;

enum class AnswerKind { kChat, kText, kResponse };  // which route's shapes an answer has

struct CompletionRequest {
  AnswerKind kind = AnswerKind::kChat;
  std::string model;
  std::vector<ChatMessage> messages;  // of a conversation
  std::vector<TextOrTokens> prompts;  // else
  Sampling sampling;                  // seed: of the first choice
  bool seeded = false;
  std::optional<uint32_t> max_tokens;
  uint32_t choices = 1;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool logprobs = false;
  uint32_t top_logprobs = 0;
  bool stream = false;
  bool stream_usage = false;
  bool echo = false;
  std::optional<MemoryWatch> memory;  // pictures of what memory does, in a stream
  std::string attention;              // a plan; empty: the server's
  std::string cache_salt;
  std::string task;
  nlohmann::ordered_json response_format;  // null, or an object whose "type" is json_object or json_schema
  nlohmann::ordered_json tools;            // null, or an array
  nlohmann::ordered_json tool_choice;      // null, a string or an object that names a function
  // What a response repeats, as it was given.
  std::string instructions;
  nlohmann::ordered_json given_tools, given_tool_choice, text_format;

  bool chat() const { return kind != AnswerKind::kText; }
  bool has_tools() const { return chat() && !tools.is_null() && tool_choice != "none"; }
  bool must_call() const { return has_tools() && (tool_choice == "required" || tool_choice.is_object()); }
};

using ReadRequest = std::variant<CompletionRequest, ApiError>;
ReadRequest read_chat_request(const nlohmann::ordered_json& body, const RequestLimits& limits);
ReadRequest read_completion_request(const nlohmann::ordered_json& body, const RequestLimits& limits);
ReadRequest read_response_request(const nlohmann::ordered_json& body, const RequestLimits& limits);

}  // namespace loci
