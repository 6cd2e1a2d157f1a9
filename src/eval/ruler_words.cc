// RULER's aggregation tasks: the most common words of a numbered list, the most frequent ones of a coded text.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "eval/ruler.h"

namespace loci {
namespace {

constexpr size_t kCommonWords = 10;
constexpr uint32_t kShortLength = 4096;        // below it words repeat less often
constexpr double kZeta2 = 1.6449340668482264;  // sum of 1 / r^2

std::string numbered(const std::vector<std::string>& words) {
  std::string out;
  for (size_t i = 0; i < words.size(); ++i) out += fmt::format("{}{}. {}", i == 0 ? "" : " ", i + 1, words[i]);
  return out;
}

struct WordList {
  std::string text;
  std::vector<std::string> common;
};

WordList word_list(const std::vector<std::string>& dictionary, size_t distinct, size_t often, size_t seldom,
                   uint64_t seed, PythonRandom& random) {
  std::vector<std::string> drawn;
  for (const size_t i : random.sample(dictionary.size(), distinct)) drawn.push_back(dictionary[i]);
  const auto border = drawn.begin() + static_cast<ptrdiff_t>(std::min(kCommonWords, drawn.size()));
  WordList out{{}, std::vector<std::string>(drawn.begin(), border)};
  std::vector<std::string> list;
  for (size_t i = 0; i < often; ++i) list.insert(list.end(), drawn.begin(), border);
  for (size_t i = 0; i < seldom; ++i) list.insert(list.end(), border, drawn.end());
  PythonRandom(seed).shuffle(list);
  out.text = numbered(list);
  return out;
}

constexpr std::string_view kCommonQuestion =
    "Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that "
    "appear most often.\n{}\nQuestion: What are the 10 most common words in the above list?";
constexpr std::string_view kCommonBeginning = " Answer: The top 10 words that appear most often in the list are:";

}  // namespace

Sample common_words(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  std::vector<std::string> dictionary = input.data.words;
  PythonRandom(input.seed).shuffle(dictionary);
  const bool is_short = input.length < kShortLength;
  const WordList example = is_short ? word_list(dictionary, 20, 3, 1, input.seed, random)
                                    : word_list(dictionary, 40, 10, 3, input.seed, random);
  const size_t distinct = std::min<size_t>(input.units, dictionary.size());
  const WordList list = is_short ? word_list(dictionary, distinct, 6, 1, input.seed, random)
                                 : word_list(dictionary, distinct, 30, 3, input.seed, random);
  Sample sample;
  sample.prompt = fmt::format(fmt::runtime(kCommonQuestion), example.text) + std::string(kCommonBeginning) + " " +
                  numbered(example.common) + "\n" + fmt::format(fmt::runtime(kCommonQuestion), list.text);
  sample.beginning = kCommonBeginning;
  sample.answers = list.common;
  return sample;
}

Sample frequent_words(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const size_t size = std::max<size_t>(4, input.length / 50);
  std::set<std::string> coded;
  while (coded.size() < size) coded.insert(random.letters("abcdefghijklmnopqrstuvwxyz", 6));
  std::vector<std::string> vocabulary(coded.begin(), coded.end());
  PythonRandom(input.seed).shuffle(vocabulary);
  vocabulary[0] = "...";
  std::vector<std::string> words;
  for (size_t r = 0; r < vocabulary.size(); ++r) {
    const auto rank = static_cast<double>(r + 1);
    words.insert(words.end(), static_cast<size_t>(input.units / (rank * rank) / kZeta2), vocabulary[r]);
  }
  PythonRandom(input.seed).shuffle(words);
  Sample sample;
  sample.prompt = fmt::format(
      "Read the following coded text and track the frequency of each coded word. Find the three most frequently "
      "appeared coded words. {}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are "
      "the three most frequently appeared words in the above coded text?",
      fmt::join(words, " "));
  sample.beginning = " Answer: According to the coded text above, the three most frequently appeared words are:";
  sample.answers.assign(vocabulary.begin() + 1, vocabulary.begin() + 4);
  return sample;
}

}  // namespace loci
