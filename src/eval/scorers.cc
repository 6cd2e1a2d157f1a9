#include "eval/scorers.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <optional>

#include "eval/letter_case.h"
#include "eval/stated_answers.h"
#include "eval/text_metrics.h"

namespace loci {
namespace {

// RULER takes control characters for ends of lines and strips the answer.
std::string cleaned(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20) c = '\n';
  }
  return out;
}

double share_found(std::string_view answer, const std::vector<std::string>& references) {
  const std::string text = lower_case(cleaned(answer));
  const auto found = std::count_if(references.begin(), references.end(), [&](const std::string& reference) {
    return text.find(lower_case(reference)) != std::string::npos;
  });
  return references.empty() ? 0 : static_cast<double>(found) / static_cast<double>(references.size());
}

double share_contained(std::string_view answer, const std::vector<std::string>& references) {
  const auto found = std::count_if(references.begin(), references.end(), [&](const std::string& reference) {
    return answer.find(reference) != std::string_view::npos;
  });
  return references.empty() ? 0 : static_cast<double>(found) / static_cast<double>(references.size());
}

std::string_view first_integer(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto begin = std::find_if(text.begin(), text.end(), digit);
  const auto end = std::find_if_not(begin, text.end(), digit);
  return text.substr(static_cast<size_t>(begin - text.begin()), static_cast<size_t>(end - begin));
}

// The words of a text, once the given characters have become blanks.
std::vector<std::string> words_without(std::string_view text, std::string_view blanks) {
  std::vector<std::string> out;
  bool inside = false;
  for (const char c : text) {
    const bool blank = std::isspace(static_cast<unsigned char>(c)) != 0 || blanks.find(c) != std::string_view::npos;
    if (!blank && !inside) out.emplace_back();
    if (!blank) out.back() += c;
    inside = !blank;
  }
  return out;
}

bool has_word(std::string_view answer, const std::string& reference) {
  const std::vector<std::string> words = words_without(answer, ":\"'.,?!{}");
  return std::find(words.begin(), words.end(), reference) != words.end();
}

std::optional<double> number_in(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional<double>(value) : std::nullopt;
}

// Digits, and behind a point more of them.
std::string_view first_number(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  text.remove_prefix(std::min(text.find_first_of(kDigits), text.size()));
  size_t end = std::min(text.find_first_not_of(kDigits), text.size());
  if (end + 1 < text.size() && text[end] == '.' && kDigits.find(text[end + 1]) != std::string_view::npos) {
    end = std::min(text.find_first_not_of(kDigits, end + 1), text.size());
  }
  return text.substr(0, end);
}

bool equal_numbers(std::string_view a, std::string_view b) {
  const std::optional<double> x = number_in(a);
  return x && x == number_in(b);
}

bool ends_in_integer(std::string_view answer, const std::string& reference) {
  const std::vector<std::string> words = words_without(answer, ".`'\":");
  if (words.empty()) return false;
  std::string_view word = words.back();
  if (word.size() > 1 && word.front() == '+') word.remove_prefix(1);
  int64_t value = 0, right = 0;
  const auto whole = [](std::string_view text, int64_t& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc{} && end == text.data() + text.size();
  };
  return whole(word, value) && whole(reference, right) && value == right;
}

bool begins_with(std::string_view answer, const std::string& reference) {
  while (!answer.empty() && std::isspace(static_cast<unsigned char>(answer.front())) != 0) answer.remove_prefix(1);
  if (lower_case(answer.substr(0, reference.size())) != lower_case(reference)) return false;
  // "Romeo" does not begin with Rome.
  return answer.size() == reference.size() || std::isalnum(static_cast<unsigned char>(answer[reference.size()])) == 0;
}

// Of the squares of the distances.
double nearness(std::string_view answer, const std::vector<std::string>& references) {
  std::string_view number = first_number(answer);
  if (number.empty() || references.size() < 2) return 0;
  const bool negative = number.data() > answer.data() && number.data()[-1] == '-';
  const double said = number_in(number).value_or(0) * (negative ? -1 : 1);
  const double right = number_in(references[0]).value_or(0);
  const double far = number_in(references[1]).value_or(0);
  const double off = (said - right) * (said - right);
  return off < far * far ? 1 - off / (far * far) : 0;
}

std::string first_letter(std::string_view text) {
  const auto letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; };
  const auto at = std::find_if(text.begin(), text.end(), letter);
  return at == text.end() ? std::string() : std::string(1, *at);
}

double best_of(double (*metric)(std::string_view, std::string_view), std::string_view answer,
               const std::vector<std::string>& references) {
  double best = 0;
  for (const std::string& reference : references) best = std::max(best, metric(answer, reference));
  return best;
}

}  // namespace

const char* to_string(Scorer scorer) {
  switch (scorer) {
    case Scorer::kAll:
      return "string_match_all";
    case Scorer::kPart:
      return "string_match_part";
    case Scorer::kFirstInteger:
      return "first_integer";
    case Scorer::kContains:
      return "contains";
    case Scorer::kWord:
      return "word";
    case Scorer::kFirstNumber:
      return "first_number";
    case Scorer::kLastInteger:
      return "last_integer";
    case Scorer::kBoxed:
      return "boxed";
    case Scorer::kCurrentValues:
      return "current_values";
    case Scorer::kBegins:
      return "begins";
    case Scorer::kNearness:
      return "nearness";
    case Scorer::kFirstLetter:
      return "first_letter";
    case Scorer::kWordF1:
      return "f1";
    case Scorer::kRougeL:
      return "rouge-l";
    case Scorer::kEditSimilarity:
      return "edit-similarity";
  }
  return "?";
}

double score_answer(Scorer scorer, std::string_view answer, const std::vector<std::string>& references) {
  switch (scorer) {
    case Scorer::kAll:
      return share_found(answer, references);
    case Scorer::kPart:
      return share_found(answer, references) > 0 ? 1 : 0;
    case Scorer::kFirstInteger:
      return !references.empty() && first_integer(answer) == references.front() ? 1 : 0;
    case Scorer::kContains:
      return share_contained(answer, references);
    case Scorer::kWord:
      return !references.empty() && has_word(answer, references.front()) ? 1 : 0;
    case Scorer::kFirstNumber:
      return !references.empty() && equal_numbers(first_number(answer), references.front()) ? 1 : 0;
    case Scorer::kLastInteger:
      return !references.empty() && ends_in_integer(answer, references.front()) ? 1 : 0;
    case Scorer::kBoxed:
      return !references.empty() && boxed_answer(answer) == references.front() ? 1 : 0;
    case Scorer::kCurrentValues:
      return share_of_current_values(answer, references);
    case Scorer::kBegins:
      return !references.empty() && begins_with(answer, references.front()) ? 1 : 0;
    case Scorer::kNearness:
      return nearness(answer, references);
    case Scorer::kFirstLetter:
      return !references.empty() && first_letter(answer) == references.front() ? 1 : 0;
    case Scorer::kWordF1:
      return best_of(word_f1, answer, references);
    case Scorer::kRougeL:
      return best_of(rouge_l, answer, references);
    case Scorer::kEditSimilarity:
      return best_of(edit_similarity, answer, references);
  }
  return 0;
}

}  // namespace loci
