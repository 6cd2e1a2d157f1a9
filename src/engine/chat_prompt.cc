#include "engine/chat_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
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

// Bytes [first, last) of the rendered text that are the content of message `message`.
struct Place {
  size_t message = 0;
  size_t first = 0;
  size_t last = 0;
};

constexpr size_t kMostRoles = 8;  // that get spans: each costs one more rendering

// A character of the private use areas that appears nowhere in `text`; empty if all do.
std::string unused_character(std::string_view text) {
  for (int second = 0x80; second <= 0xa3; ++second) {  // U+E000 ...
    for (int third = 0x80; third <= 0xbf; ++third) {
      const char utf8[] = {'\xee', static_cast<char>(second), static_cast<char>(third)};
      if (text.find(std::string_view(utf8, sizeof utf8)) == std::string_view::npos) return {utf8, sizeof utf8};
    }
  }
  return {};
}

// The messages with marks around the trimmed content of those of `role`: the number of the message between two `mark`.
std::vector<ChatMessage> marked(std::span<const ChatMessage> messages, std::string_view role, std::string_view mark) {
  std::vector<ChatMessage> out(messages.begin(), messages.end());
  for (size_t i = 0; i < out.size(); ++i) {
    const std::string_view content = trimmed(messages[i].content);
    if (out[i].role != role || content.empty()) continue;
    const size_t before = static_cast<size_t>(content.data() - messages[i].content.data());
    const std::string border = fmt::format("{}{}{}", mark, i, mark);
    out[i].content.insert(before + content.size(), border).insert(before, border);
  }
  return out;
}

// Adds the contents that stand between two equal marks; none if the text without the marks is not `text`: then the
// template looks at the content and not only writes it.
void find_marks(std::string_view marked_text, std::string_view mark, std::string_view text, size_t messages,
                std::vector<Place>& places) {
  std::string plain;
  std::vector<Place> found;
  std::string_view open;
  for (;;) {
    const size_t at = marked_text.find(mark);
    plain += marked_text.substr(0, at);
    if (at == std::string_view::npos) break;
    marked_text.remove_prefix(at + mark.size());
    const size_t end = marked_text.find(mark);
    if (end == std::string_view::npos) return;
    const std::string_view number = marked_text.substr(0, end);
    marked_text.remove_prefix(end + mark.size());
    if (number == open) {
      found.back().last = plain.size();
      open = {};
    } else {
      found.push_back({0, plain.size(), plain.size()});
      size_t& message = found.back().message;
      const auto [rest, error] = std::from_chars(number.data(), number.data() + number.size(), message);
      if (error != std::errc() || rest != number.data() + number.size() || message >= messages) return;
      open = number;
    }
  }
  if (plain != text) return;
  std::copy_if(found.begin(), found.end(), std::back_inserter(places), [](const Place& p) { return p.first < p.last; });
}

// In the order of the text. The template tells where a message's content goes: its text may stand elsewhere too.
std::vector<Place> find_places(const ChatTemplate& chat_template, ChatContext context, std::string_view text) {
  const std::span<const ChatMessage> messages = context.messages;
  std::string all(text);
  std::vector<std::string_view> roles;
  for (const ChatMessage& message : messages) {
    all += message.content;
    if (std::find(roles.begin(), roles.end(), message.role) == roles.end()) roles.push_back(message.role);
  }
  const std::string mark = unused_character(all);
  std::vector<Place> places;
  if (mark.empty()) return places;
  for (size_t i = 0; i < std::min(roles.size(), kMostRoles); ++i) {
    const std::vector<ChatMessage> of_role = marked(messages, roles[i], mark);
    context.messages = of_role;
    const Result<std::string> marked_text = chat_template.render(context);
    if (marked_text.ok()) find_marks(*marked_text, mark, text, messages.size(), places);
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.first < b.first; });
  return places;
}

// Where each token ends in `text`. Nothing if the tokens do not spell it, but for spaces that the vocabulary adds.
std::optional<std::vector<size_t>> token_ends(const Tokenizer& tokenizer, std::span<const TokenId> tokens,
                                              std::string_view text) {
  std::vector<size_t> ends;
  size_t at = 0;
  for (const TokenId id : tokens) {
    const Result<std::string> piece = tokenizer.piece(id, true);
    if (!piece.ok()) return std::nullopt;
    for (const char c : *piece) {
      if (at < text.size() && text[at] == c) {
        ++at;
      } else if (c != ' ') {
        return std::nullopt;
      }
    }
    ends.push_back(at);
  }
  if (at != text.size()) return std::nullopt;
  return ends;
}

// The tokens that hold a byte of a place.
LabelledSpan span_of(const Place& place, const std::string& label, std::span<const size_t> ends) {
  const auto first = std::upper_bound(ends.begin(), ends.end(), place.first);
  const auto last = std::lower_bound(first, ends.end(), place.last);
  return {label, static_cast<uint32_t>(first - ends.begin()), static_cast<uint32_t>(last - first) + 1};
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
  // A vocabulary that rewrites the text (an unusual form of a character) leaves no border to look for.
  const auto ends = token_ends(tokenizer, out.tokens, out.text);
  if (!ends) return out;
  for (const Place& place : find_places(chat_template, context, out.text)) {
    out.spans.push_back(span_of(place, messages[place.message].role, *ends));
  }
  return out;
}

}  // namespace loci
