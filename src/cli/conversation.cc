#include "cli/conversation.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/error.h"

namespace loci {
namespace {

std::string messages_path(const std::string& path) { return fmt::format("{}.json", path); }

Status write_messages(const std::string& path, const std::vector<ChatMessage>& messages) {
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const ChatMessage& message : messages) array.push_back({{"role", message.role}, {"content", message.content}});
  const std::string unfinished = fmt::format("{}.part", path);
  std::ofstream out(unfinished, std::ios::binary);
  out << array.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
  out.close();
  if (!out || std::rename(unfinished.c_str(), path.c_str()) != 0) {
    std::remove(unfinished.c_str());
    return fail(ErrorCode::kIo, "cannot write '{}'", path);
  }
  return {};
}

Result<std::vector<ChatMessage>> read_messages(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    return fail(ErrorCode::kNotFound, "cannot open '{}', which holds the messages of the saved conversation", path);
  std::stringstream text;
  text << in.rdbuf();
  const nlohmann::json array = nlohmann::json::parse(text.str(), nullptr, false);
  const auto is_message = [](const nlohmann::json& item) {
    return item.is_object() && item.contains("role") && item["role"].is_string() && item.contains("content") &&
           item["content"].is_string();
  };
  if (!array.is_array() || !std::all_of(array.begin(), array.end(), is_message)) {
    return fail(ErrorCode::kCorrupt, "'{}' is no JSON array of messages with a role and a content", path);
  }
  std::vector<ChatMessage> messages;
  for (const nlohmann::json& item : array) messages.push_back({item["role"], item["content"]});
  return messages;
}

}  // namespace

Result<Conversation> Conversation::open(Engine& engine, const std::string& system) {
  LOCI_TRY(Session session, engine.open_session());
  std::vector<ChatMessage> messages;
  if (!system.empty()) messages.push_back({"system", system});
  return Conversation(engine, std::move(session), std::move(messages));
}

Result<Completion> Conversation::say(const std::string& text, Request request) {
  messages_.push_back({"user", text});
  Result<Completion> done = [&]() -> Result<Completion> {
    LOCI_TRY(ChatPrompt prompt, engine_->chat_prompt(messages_));
    const std::vector<TokenId>& fed = session_.tokens();
    auto [agreed, next] = std::mismatch(fed.begin(), fed.end(), prompt.tokens.begin(), prompt.tokens.end());
    // At least one token must be read: its logits choose the next.
    if (next == prompt.tokens.end() && next != prompt.tokens.begin()) {
      --next;
      --agreed;
    }
    request.prompt.assign(next, prompt.tokens.end());
    LOCI_CHECK(session_.trim(static_cast<uint32_t>(agreed - fed.begin())));
    return session_.generate(request);
  }();
  if (!done.ok() || done->tokens.empty()) {
    messages_.pop_back();
  } else {
    messages_.push_back({"assistant", done->text});
  }
  return done;
}

Status Conversation::reset() {
  LOCI_CHECK(session_.trim(0));
  const bool has_system = !messages_.empty() && messages_.front().role == "system";
  messages_.resize(has_system ? 1 : 0);
  return {};
}

Status Conversation::save(const std::string& path) const {
  LOCI_CHECK(session_.save(path));
  return write_messages(messages_path(path), messages_);
}

Status Conversation::load(const std::string& path) {
  LOCI_TRY(std::vector<ChatMessage> messages, read_messages(messages_path(path)));
  LOCI_TRY(Session session, engine_->load_session(path));
  messages_ = std::move(messages);
  session_ = std::move(session);
  return {};
}

size_t Conversation::turns() const {
  return static_cast<size_t>(
      std::count_if(messages_.begin(), messages_.end(), [](const ChatMessage& m) { return m.role == "user"; }));
}

}  // namespace loci
