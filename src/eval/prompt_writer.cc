#include "eval/prompt_writer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace loci {
namespace {

constexpr size_t kMostWords = 8192;  // as MQAR is published
constexpr size_t kLeastWords = 256;

std::string right_answer(const Turn& turn) { return fmt::format("{}", fmt::join(turn.answers, " ")); }

bool plain_word(std::string_view text) {
  if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80 && std::isalpha(c) != 0; });
}

}  // namespace

Result<PromptWriter::Tokens> PromptWriter::plain(std::string_view text) const {
  return engine_.tokenize(text, {.add_special = false, .parse_special = false});
}

Result<uint32_t> PromptWriter::count(std::string_view text) const {
  LOCI_TRY(const Tokens tokens, plain(text));
  return static_cast<uint32_t>(tokens.size());
}

Result<PromptWriter::Tokens> PromptWriter::chat(const std::vector<ChatMessage>& messages,
                                                std::string_view beginning) const {
  LOCI_TRY(ChatPrompt made, engine_.chat_prompt(messages));
  LOCI_TRY(const Tokens more, plain(beginning));
  made.tokens.insert(made.tokens.end(), more.begin(), more.end());
  return std::move(made.tokens);
}

Result<PromptWriter::Tokens> PromptWriter::prompt(const Sample& sample) const {
  if (!sample.turns.empty()) {
    LOCI_TRY(std::vector<Tokens> all, turns(sample, Asking::kTurns));
    return std::move(all.back());
  }
  if (!sample.recall.tokens.empty()) {
    LOCI_TRY(Tokens tokens, engine_.tokenize("", {.add_special = true, .parse_special = false}));
    tokens.insert(tokens.end(), sample.recall.tokens.begin(), sample.recall.tokens.end());
    return tokens;
  }
  if (chat_) return chat({{"user", sample.prompt}}, sample.beginning);
  return engine_.tokenize(sample.prompt + sample.beginning, {.add_special = true, .parse_special = false});
}

Result<PromptWriter::Tokens> PromptWriter::context(const Sample& sample) const {
  if (chat_) return chat({{"user", sample.prompt}}, "");
  return engine_.tokenize(sample.prompt, {.add_special = true, .parse_special = false});
}

Result<std::vector<PromptWriter::Tokens>> PromptWriter::turns(const Sample& sample, Asking asking) const {
  return chat_ ? chat_turns(sample, asking) : text_turns(sample, asking);
}

Result<std::vector<PromptWriter::Tokens>> PromptWriter::chat_turns(const Sample& sample, Asking asking) const {
  std::vector<Tokens> out;
  std::vector<ChatMessage> messages;
  for (const Turn& turn : sample.turns) {
    if (asking == Asking::kRequests) messages.clear();
    const bool first = messages.empty();
    messages.push_back({"user", first ? sample.prompt + "\n\n" + turn.question : turn.question});
    LOCI_TRY(Tokens tokens, chat(messages, turn.beginning));
    out.push_back(std::move(tokens));
    messages.push_back({"assistant", turn.beginning + right_answer(turn)});
  }
  return out;
}

// Questions are tokenized apart from what stands before them, so that they begin where a cache may be cut.
Result<std::vector<PromptWriter::Tokens>> PromptWriter::text_turns(const Sample& sample, Asking asking) const {
  LOCI_TRY(Tokens before, context(sample));
  std::vector<Tokens> out;
  std::string answer;
  for (const Turn& turn : sample.turns) {
    LOCI_TRY(const Tokens question, plain(answer + "\n\n" + turn.question + turn.beginning));
    Tokens all = before;
    all.insert(all.end(), question.begin(), question.end());
    if (asking == Asking::kTurns) {
      before = all;
      answer = right_answer(turn);
    }
    out.push_back(std::move(all));
  }
  return out;
}

Result<std::vector<TokenId>> PromptWriter::vocabulary() const {
  std::vector<TokenId> words;
  for (uint32_t id = 0; id < engine_.info().vocabulary; ++id) {
    const auto token = static_cast<TokenId>(id);
    LOCI_TRY(const std::string text, engine_.detokenize(std::span(&token, 1)));
    if (plain_word(text)) words.push_back(token);
  }
  if (words.size() < kLeastWords) {
    return fail(ErrorCode::kUnsupported, "{} of {} tokens are words; a task on bare tokens needs {}", words.size(),
                engine_.info().vocabulary, kLeastWords);
  }
  std::vector<TokenId> out;
  const size_t count = std::min(words.size(), kMostWords);
  for (size_t i = 0; i < count; ++i) out.push_back(words[i * words.size() / count]);
  return out;
}

}  // namespace loci
