#include "base/spelling.h"

#include <algorithm>

namespace loci {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::vector<std::string> nearest_words(std::string_view word, const std::vector<std::string>& known) {
  std::vector<std::string> best;
  // A long word would cost much and mean nothing.
  if (word.size() > 64) return best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3);
  for (const std::string& candidate : known) {
    const bool prefix = word.size() >= 4 && candidate.compare(0, word.size(), word) == 0;
    const size_t distance = prefix ? 1 : edit_distance(word, candidate);
    // A word of which every letter is wrong was not meant.
    if (distance > best_distance || distance >= candidate.size()) continue;
    if (distance < best_distance) best.clear();
    best.push_back(candidate);
    best_distance = distance;
  }
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  std::string out;
  for (const std::string& candidate : nearest_words(word, known)) {
    out += (out.empty() ? "; did you mean '" : " or '") + candidate + "'";
  }
  return out.empty() ? out : out + "?";
}

}  // namespace loci
