#include "cli/document_prompt.h"

#include <algorithm>

#include "base/error.h"

namespace loci {
namespace {

uint32_t common_prefix(const std::vector<TokenId>& a, const std::vector<TokenId>& b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return static_cast<uint32_t>(end - a.begin());
}

// Tokens of `tokens` that the first `bytes` bytes of `text` make on their own: where a piece of text ends, in tokens. A
// token that crosses the border belongs to what follows.
Result<uint32_t> tokens_before(const Engine& engine, const std::vector<TokenId>& tokens, const std::string& text,
                               size_t bytes, bool add_special) {
  LOCI_TRY(const std::vector<TokenId> head, engine.tokenize(std::string_view(text).substr(0, bytes),
                                                            {.add_special = add_special, .parse_special = true}));
  return common_prefix(tokens, head);
}

void add_span(std::vector<LabelledSpan>& spans, const char* label, uint32_t first, uint32_t end) {
  if (end > first) spans.push_back({label, first, end - first});
}

}  // namespace

std::string document_message(const std::string& document, const std::string& question) {
  if (document.empty()) return question;
  if (question.empty()) return document;
  return fmt::format("{}\n\n{}", document, question);
}

Result<DocumentPrompt> raw_prompt(const Engine& engine, const std::string& document, const std::string& question) {
  const std::string text = fmt::format("{}{}", document, question);
  DocumentPrompt out;
  LOCI_TRY(out.tokens, engine.tokenize(text));
  LOCI_TRY(const uint32_t begin, tokens_before(engine, out.tokens, text, 0, true));
  LOCI_TRY(const uint32_t middle, tokens_before(engine, out.tokens, text, document.size(), true));
  add_span(out.spans, "document", begin, middle);
  add_span(out.spans, "question", std::max(begin, middle), static_cast<uint32_t>(out.tokens.size()));
  return out;
}

Result<DocumentPrompt> chat_document_prompt(const Engine& engine, const std::string& document,
                                            const std::string& question) {
  const std::string message = document_message(document, question);
  const ChatMessage user{"user", message};
  LOCI_TRY(const ChatPrompt chat, engine.chat_prompt({&user, 1}));
  DocumentPrompt out{chat.tokens, chat.spans};
  // A template may trim or rewrite the message; then there is no place to label.
  const size_t at = chat.text.rfind(message);
  if (at == std::string::npos || message.empty()) return out;
  // The rendered text holds its own BOS, or the engine adds one: whichever way gives these tokens.
  bool add_special = false;
  LOCI_TRY(const std::vector<TokenId> plain, engine.tokenize(chat.text, {.add_special = false, .parse_special = true}));
  if (plain != chat.tokens) add_special = true;
  const size_t document_end = at + document.size();
  LOCI_TRY(const uint32_t begin, tokens_before(engine, out.tokens, chat.text, at, add_special));
  LOCI_TRY(const uint32_t middle, tokens_before(engine, out.tokens, chat.text, document_end, add_special));
  LOCI_TRY(const uint32_t end, tokens_before(engine, out.tokens, chat.text, at + message.size(), add_special));
  if (!document.empty()) add_span(out.spans, "document", begin, middle);
  if (!question.empty()) add_span(out.spans, "question", document.empty() ? begin : middle, end);
  return out;
}

}  // namespace loci
