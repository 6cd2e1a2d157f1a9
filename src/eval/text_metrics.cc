#include "eval/text_metrics.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace loci {
namespace {

using Words = std::vector<std::string>;

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

Words split_words(std::string_view text) {
  Words out;
  std::string word;
  for (const char c : text) {
    if (!is_space(c)) {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) out.push_back(std::move(word));
  return out;
}

Words levelled_words(std::string_view text) {
  std::string plain;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || std::ispunct(byte) == 0) plain += static_cast<char>(byte < 0x80 ? std::tolower(byte) : byte);
  }
  Words words = split_words(plain);
  const auto article = [](const std::string& word) { return word == "a" || word == "an" || word == "the"; };
  words.erase(std::remove_if(words.begin(), words.end(), article), words.end());
  return words;
}

std::vector<Words> split_summary(std::string_view text) {
  std::vector<Words> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('.'), text.size());
    if (end > 0) {
      Words words = split_words(text.substr(0, end));
      if (words.empty()) words.emplace_back();  // blanks alone are a sentence of one empty word
      out.push_back(std::move(words));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

// Lengths of the longest common subsequences of all prefixes.
template <typename Sequence>
std::vector<std::vector<uint32_t>> common_lengths(const Sequence& a, const Sequence& b) {
  std::vector<std::vector<uint32_t>> table(a.size() + 1, std::vector<uint32_t>(b.size() + 1, 0));
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      table[i][j] = a[i - 1] == b[j - 1] ? table[i - 1][j - 1] + 1 : std::max(table[i - 1][j], table[i][j - 1]);
    }
  }
  return table;
}

// Adds the words of one longest common subsequence, that which the package finds.
void add_common_words(const Words& reference, const Words& answer, std::set<std::string>& common) {
  const auto table = common_lengths(reference, answer);
  size_t i = reference.size();
  size_t j = answer.size();
  while (i > 0 && j > 0) {
    if (reference[i - 1] == answer[j - 1]) {
      common.insert(reference[i - 1]);
      --i;
      --j;
    } else if (table[i - 1][j] > table[i][j - 1]) {
      --i;
    } else {
      --j;
    }
  }
}

size_t distinct_words(const std::vector<Words>& sentences) {
  std::set<std::string> words;
  for (const Words& sentence : sentences) words.insert(sentence.begin(), sentence.end());
  return words.size();
}

std::string_view code_line(std::string_view answer) {
  while (!answer.empty() && answer.front() == '\n') answer.remove_prefix(1);
  while (!answer.empty()) {
    const size_t end = std::min(answer.find('\n'), answer.size());
    const std::string_view line = answer.substr(0, end);
    if (line.find_first_of("`#") == line.npos && line.find("//") == line.npos) return line;
    answer.remove_prefix(std::min(end + 1, answer.size()));
  }
  return {};
}

}  // namespace

double word_f1(std::string_view answer, std::string_view reference) {
  const Words said = levelled_words(answer);
  const Words right = levelled_words(reference);
  std::map<std::string, size_t> left;
  for (const std::string& word : right) ++left[word];
  size_t common = 0;
  for (const std::string& word : said) {
    size_t& count = left[word];
    if (count == 0) continue;
    --count;
    ++common;
  }
  if (common == 0) return 0;
  return 2.0 * static_cast<double>(common) / static_cast<double>(said.size() + right.size());
}

double rouge_l(std::string_view answer, std::string_view reference) {
  const std::vector<Words> said = split_summary(answer);
  const std::vector<Words> right = split_summary(reference);
  if (said.empty() || right.empty()) return 0;
  std::set<std::string> common;
  for (const Words& sentence : right) {
    for (const Words& other : said) add_common_words(sentence, other, common);
  }
  const auto hits = static_cast<double>(common.size());
  const double recall = hits / static_cast<double>(distinct_words(right));
  const double precision = hits / static_cast<double>(distinct_words(said));
  constexpr double kNoZero = 1e-8;  // the package's
  return 2 * (precision * recall) / (precision + recall + kNoZero);
}

double edit_similarity(std::string_view answer, std::string_view reference) {
  const std::string_view line = code_line(answer);
  const size_t total = line.size() + reference.size();
  if (total == 0) return 1;
  const double common = common_lengths(line, reference).back().back();
  return std::nearbyint(100 * 2 * common / static_cast<double>(total)) / 100;
}

}  // namespace loci
