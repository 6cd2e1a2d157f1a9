#include "eval/suite_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace loci {
namespace {

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

bool ends_sentence(char c) { return c == '.' || c == '?' || c == '!'; }

void sort_unique(std::vector<std::string>& words) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
}

std::vector<std::string> all_words(const SuiteTexts& texts) {
  std::vector<std::string> out;
  for (const std::string* list : {&texts.nouns, &texts.adjectives, &texts.verbs}) {
    for (std::string& word : split_lines(*list)) out.push_back(std::move(word));
  }
  sort_unique(out);
  return out;
}

}  // namespace

std::string collapse_white_space(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (!is_blank(c)) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::vector<std::string_view> split_sentences(std::string_view text) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    if (!ends_sentence(text[i]) || text[i + 1] != ' ') continue;
    out.push_back(text.substr(begin, i + 1 - begin));
    begin = i + 2;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    while (!line.empty() && is_blank(line.back())) line.remove_suffix(1);
    out.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

Essay::Essay(std::string_view text) : text_(collapse_white_space(text)) {
  for (size_t i = 1; i < text_.size(); ++i) {
    if (text_[i] == ' ') ends_.push_back(i);
  }
  if (!text_.empty()) ends_.push_back(text_.size());
}

std::string_view Essay::word(size_t index) const {
  const size_t begin = index == 0 ? 0 : ends_[index - 1] + 1;
  return std::string_view(text_).substr(begin, ends_[index] - begin);
}

std::string Essay::words_from(size_t first, size_t count) const {
  std::string out;
  if (ends_.empty()) return out;
  for (; count > 0; first = 0) {
    const size_t taken = std::min(count, ends_.size() - first);
    const size_t begin = first == 0 ? 0 : ends_[first - 1] + 1;
    if (!out.empty()) out += ' ';
    out.append(text_, begin, ends_[first + taken - 1] - begin);
    count -= taken;
  }
  return out;
}

size_t Essay::sentence_at(size_t word) const {
  while (word < ends_.size() && !begins_sentence(word)) ++word;
  return word < ends_.size() ? word : 0;
}

bool Essay::begins_sentence(size_t word) const { return word == 0 || ends_sentence(text_[ends_[word - 1] - 1]); }

WordPairs::WordPairs(std::vector<std::string> adjectives, std::vector<std::string> nouns)
    : adjectives_(std::move(adjectives)), nouns_(std::move(nouns)) {
  sort_unique(adjectives_);
  sort_unique(nouns_);
  // By what stands before the noun, hyphen included.
  std::sort(adjectives_.begin(), adjectives_.end(),
            [](const std::string& a, const std::string& b) { return a + "-" < b + "-"; });
  for (size_t i = 0; i < adjectives_.size();) i = add_runs(i);
}

void WordPairs::add_run(size_t adjective, size_t first, size_t end) {
  if (first < end) runs_.push_back({adjective, first, end - first});
  size_ += end - first;
}

// The pairs of one adjective, and among them those of longer ones that begin with it and a hyphen: "high-pitched-..."
// stands between "high-pit" and "high-place". Returns the adjective behind all these.
size_t WordPairs::add_runs(size_t adjective) {
  const std::string start = adjectives_[adjective] + "-";
  size_t noun = 0;
  size_t next = adjective + 1;
  while (next < adjectives_.size() && adjectives_[next].compare(0, start.size(), start) == 0) {
    const std::string rest = adjectives_[next].substr(start.size()) + "-";
    const auto until = static_cast<size_t>(std::lower_bound(nouns_.begin(), nouns_.end(), rest) - nouns_.begin());
    add_run(adjective, noun, until);
    noun = until;
    next = add_runs(next);
  }
  add_run(adjective, noun, nouns_.size());
  return next;
}

std::string WordPairs::at(uint64_t index) const {
  for (const Run& run : runs_) {
    if (index < run.count) return fmt::format("{}-{}", adjectives_[run.adjective], nouns_[run.first + index]);
    index -= run.count;
  }
  return {};
}

std::vector<std::string> held_out_words(std::string_view list) {
  constexpr size_t kOf = 5;
  std::vector<std::string> words = split_lines(list);
  const auto other = [](const std::string& word) {
    return word.empty() || !std::all_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  };
  words.erase(std::remove_if(words.begin(), words.end(), other), words.end());
  sort_unique(words);
  std::vector<std::string> out;
  for (size_t i = kOf - 1; i < words.size(); i += kOf) out.push_back(words[i]);
  return out;
}

SuiteData::SuiteData(const SuiteTexts& texts, QuestionSet squad_set, QuestionSet hotpotqa_set)
    : essay(texts.haystack),
      title(texts.title),
      keys(texts.held_out_keys ? held_out_words(texts.adjectives) : split_lines(texts.adjectives),
           texts.held_out_keys ? held_out_words(texts.nouns) : split_lines(texts.nouns)),
      words(all_words(texts)),
      squad(std::move(squad_set)),
      hotpotqa(std::move(hotpotqa_set)) {}

}  // namespace loci
