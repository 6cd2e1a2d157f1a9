#include "engine/chat_prompt.h"

#include <nlohmann/json.hpp>

namespace loci {
namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// "chat_template" of tokenizer_config.json: a text, or a list of named ones of which "default" is meant.
std::string template_of_json(std::string_view text) {
  const nlohmann::json config = nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object() || !config.contains("chat_template")) return {};
  const nlohmann::json& found = config["chat_template"];
  if (found.is_string()) return found.get<std::string>();
  if (!found.is_array()) return {};
  for (const nlohmann::json& entry : found) {
    if (entry.is_object() && entry.value("name", "") == "default") return entry.value("template", "");
  }
  return {};
}

Result<std::string> token_text(const Tokenizer& tokenizer, TokenId id) {
  if (id < 0) return std::string();
  return tokenizer.piece(id, true);
}

Result<uint32_t> count_tokens(const Tokenizer& tokenizer, std::string_view text) {
  LOCI_TRY(const std::vector<TokenId> ids, tokenizer.encode(text, {.add_special = false}));
  return static_cast<uint32_t>(ids.size());
}

}  // namespace

std::optional<Result<ChatTemplate>> load_chat_template(const ModelFile& file) {
  std::string source;
  if (const MetaValue* value = file.metadata().find("tokenizer.chat_template")) {
    if (const std::string* text = std::get_if<std::string>(value)) source = *text;
  }
  if (source.empty() && !file.tokenizer_config_json().empty()) source = template_of_json(file.tokenizer_config_json());
  if (source.empty()) return std::nullopt;
  return ChatTemplate::parse(source);
}

Result<ChatPrompt> make_chat_prompt(const ChatTemplate& chat_template, const Tokenizer& tokenizer,
                                    std::span<const ChatMessage> messages, bool add_generation_prompt) {
  ChatContext context{
      .messages = messages, .add_generation_prompt = add_generation_prompt, .bos_token = {}, .eos_token = {}};
  LOCI_TRY(context.bos_token, token_text(tokenizer, tokenizer.bos()));
  LOCI_TRY(context.eos_token, token_text(tokenizer, tokenizer.eos()));
  ChatPrompt out;
  LOCI_TRY(out.text, chat_template.render(context));
  // The template writes the special tokens itself.
  LOCI_TRY(out.tokens, tokenizer.encode(out.text, {.add_special = false}));
  size_t from = 0;
  uint32_t tokens_before = 0;
  for (const ChatMessage& message : messages) {
    const std::string_view content = trimmed(message.content);
    const size_t at = out.text.find(content, from);
    if (content.empty() || at == std::string::npos) continue;
    // Tokens are counted piece by piece, each up to a border of the message: a token across a border counts to one
    // side.
    LOCI_TRY(const uint32_t gap, count_tokens(tokenizer, std::string_view(out.text).substr(from, at - from)));
    LOCI_TRY(const uint32_t count, count_tokens(tokenizer, content));
    out.spans.push_back({message.role, tokens_before + gap, count});
    tokens_before += gap + count;
    from = at + content.size();
  }
  return out;
}

}  // namespace loci
