#include "eval/scorers.h"

#include <algorithm>
#include <cctype>

#include "eval/text_metrics.h"

namespace loci {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// RULER takes control characters for ends of lines and strips the answer.
std::string cleaned(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20) c = '\n';
  }
  return out;
}

double share_found(std::string_view answer, const std::vector<std::string>& references) {
  const std::string text = lower(cleaned(answer));
  const auto found = std::count_if(references.begin(), references.end(), [&](const std::string& reference) {
    return text.find(lower(reference)) != std::string::npos;
  });
  return references.empty() ? 0 : static_cast<double>(found) / static_cast<double>(references.size());
}

std::string_view first_integer(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto begin = std::find_if(text.begin(), text.end(), digit);
  const auto end = std::find_if_not(begin, text.end(), digit);
  return text.substr(static_cast<size_t>(begin - text.begin()), static_cast<size_t>(end - begin));
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
      return !references.empty() && answer.find(references.front()) != std::string_view::npos ? 1 : 0;
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
