#include "cli/haystack.h"

#include <array>
#include <random>

#include "eval/suite_data.h"

namespace loci {
namespace {

constexpr std::string_view kInstruction =
    "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about the "
    "number "
    "afterwards.\n";

// Words that the reference model has never seen in a key.
constexpr std::array<std::string_view, 12> kAdjectives{"agreeable", "colorful", "courageous", "dashing",
                                                       "dusty",     "glib",     "heavy",      "magical",
                                                       "prickly",   "soggy",    "warm",       "witty"};
constexpr std::array<std::string_view, 12> kNouns{"boysenberry", "bowler",  "cricket",    "dory",
                                                  "equation",    "gorilla", "journalist", "meal",
                                                  "necklace",    "party",   "songbird",   "toothbrush"};

// Tokens that joining the pieces may add beyond the sum of their own.
constexpr uint32_t kSlackTokens = 32;

struct Quiz {
  std::string key, value, needle, question, beginning;
};

Quiz make_quiz(uint64_t seed) {
  std::mt19937_64 random(seed);
  Quiz quiz;
  quiz.key = fmt::format("{}-{}", kAdjectives[random() % kAdjectives.size()], kNouns[random() % kNouns.size()]);
  quiz.value = fmt::format("{}", 1000000 + random() % 9000000);
  quiz.needle = fmt::format("One of the special magic numbers for {} is: {}.", quiz.key, quiz.value);
  quiz.question = fmt::format("What is the special magic number for {} mentioned in the provided text?", quiz.key);
  quiz.beginning = fmt::format("The special magic number for {} mentioned in the provided text is", quiz.key);
  return quiz;
}

std::string join_with_needle(const std::vector<std::string_view>& sentences, size_t place, const std::string& needle) {
  std::string out;
  for (size_t i = 0; i <= sentences.size(); ++i) {
    if (i == place) out += fmt::format("{}{}", out.empty() ? "" : " ", needle);
    if (i < sentences.size()) out += fmt::format("{}{}", out.empty() ? "" : " ", sentences[i]);
  }
  return out;
}

}  // namespace

Result<Haystack> make_haystack(std::string_view book, const HaystackOptions& options, const CountTokens& count_tokens) {
  const Quiz quiz = make_quiz(options.seed);
  const std::string tail = fmt::format("\n{} {}", quiz.question, quiz.beginning);
  LOCI_TRY(const uint32_t frame, count_tokens(fmt::format("{}{}{}", kInstruction, quiz.needle, tail)));
  const uint64_t fixed = uint64_t{frame} + options.answer_tokens + kSlackTokens;
  if (fixed > options.tokens) {
    return fail(ErrorCode::kLimit, "{} tokens hold no haystack: the question and its answer alone take {}",
                options.tokens, fixed);
  }
  const std::string text = collapse_white_space(book);
  std::vector<std::string_view> taken;
  uint64_t used = fixed;
  bool full = false;
  for (const std::string_view sentence : split_sentences(text)) {
    LOCI_TRY(const uint32_t tokens, count_tokens(fmt::format(" {}", sentence)));
    full = used + tokens > options.tokens;
    if (full) break;
    used += tokens;
    taken.push_back(sentence);
  }
  if (!full) {
    return fail(ErrorCode::kLimit,
                "the book has only about {} tokens, {} are asked for: give a longer one or fewer --tokens",
                used - fixed, options.tokens);
  }
  const size_t place = static_cast<size_t>(options.depth * static_cast<double>(taken.size()));
  Haystack out;
  out.prompt = fmt::format("{}{}{}", kInstruction, join_with_needle(taken, place, quiz.needle), tail);
  out.needle = quiz.needle;
  out.question = quiz.question;
  out.key = quiz.key;
  out.value = quiz.value;
  return out;
}

}  // namespace loci
