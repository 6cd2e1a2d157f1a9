// SORT, the sequence order recall task (arXiv 2410.08133, BSD-3-Clause): two segments of an excerpt are shown, which
// came first? Excerpts and segments begin with sentences and are drawn as published, from the haystack; the wording is
// the third of the thirteen published ones. The logits of A and B are compared, so that there is always an answer.
#include "eval/sort.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "eval/letter_case.h"
#include "eval/suites.h"

namespace loci {
namespace {

constexpr uint32_t kSortBins = 4;
constexpr uint32_t kLongSortExcerpt = 5000;
constexpr int kTries = 10000;

// A sentence ends in a word that holds a mark, but for the titles that names follow.
bool has_sentence_mark(std::string_view word) {
  if (word.find_first_of(".?!;") == std::string_view::npos) return false;
  const std::string title = lower_case(word);
  return title != "mr." && title != "mrs." && title != "dr.";
}

struct Bin {
  uint32_t above, most;  // words between the beginnings
};

Bin bin_of(uint32_t excerpt, uint32_t segment, uint32_t bin) {
  const auto far = static_cast<uint32_t>(excerpt / 1.25);
  const std::array<uint32_t, kSortBins + 1> edges =
      excerpt < kLongSortExcerpt
          ? std::array<uint32_t, kSortBins + 1>{segment, excerpt / 4, excerpt / 3, excerpt / 2, far}
          : std::array<uint32_t, kSortBins + 1>{segment, 1000, excerpt / 4, excerpt / 2, far};
  return {edges[bin], edges[bin + 1]};
}

size_t scalar_choice(MersenneTwister& numpy, size_t size) { return numpy_permutation(numpy, size).front(); }

}  // namespace

SortTrial draw_sort_trial(const Essay& essay, MersenneTwister& numpy, uint32_t excerpt, uint32_t segment,
                          uint32_t bin) {
  SortTrial trial;
  const size_t words = essay.words();
  if (words > excerpt) {
    trial.start = scalar_choice(numpy, words - excerpt);
    while (trial.start > 0 && !has_sentence_mark(essay.word(trial.start - 1))) --trial.start;
  }
  std::vector<uint32_t> beginnings{0};
  for (uint32_t i = 0; i < excerpt; ++i) {
    if (has_sentence_mark(essay.word((trial.start + i) % words))) beginnings.push_back(i + 1);
  }
  const uint32_t end = excerpt - segment;
  beginnings.erase(std::remove_if(beginnings.begin(), beginnings.end(), [&](uint32_t b) { return b >= end; }),
                   beginnings.end());
  const Bin wanted = bin_of(excerpt, segment, bin);
  for (int i = 0; i < kTries; ++i) {
    const uint32_t one = beginnings[scalar_choice(numpy, beginnings.size())];
    std::vector<uint32_t> others;
    for (const uint32_t other : beginnings) {
      const uint32_t distance = std::max(one, other) - std::min(one, other);
      if (distance > wanted.above && distance <= wanted.most) others.push_back(other);
    }
    if (others.empty()) continue;
    const uint32_t other = others[static_cast<size_t>(numpy_randint(numpy, 0, static_cast<int64_t>(others.size())))];
    trial.first = std::min(one, other);
    trial.second = std::max(one, other);
    return trial;
  }
  // A text without sentences that far apart: the nearest thing to the bin, sentence or not.
  trial.second = std::min(wanted.most, end);
  return trial;
}

namespace {

Sample order_recall(const SampleInput& input, uint32_t segment) {
  const Essay& essay = input.data.essay;
  const std::string& title = input.data.title;
  MersenneTwister numpy(static_cast<uint32_t>(input.sample_seed));
  const uint32_t words = std::max(input.units, kLeastSortExcerpt);
  const SortTrial trial = draw_sort_trial(essay, numpy, words, segment, input.index % kSortBins);
  const auto text = [&](uint32_t at) { return essay.words_from((trial.start + at) % essay.words(), segment); };
  // In turn, and of eight prompts in a row in either order once a bin.
  const bool first_is_a = (input.index + input.index / kSortBins) % 2 == 0;
  Sample sample;
  sample.prompt = fmt::format(
      "I need you to thoroughly read and comprehend this extract from the book {}. The passage is as follows: {}You "
      "will "
      "be shown two text segments, labeled as A and B. Please recall in which order they appeared in the book {} and "
      "tell "
      "me which one came first. Please read the segments carefully: Segment A: {} Segment B: {}\n Which of these two "
      "parts of the book, A or B, came first in the book {}?\n",
      title, essay.words_from(trial.start, words), title, text(first_is_a ? trial.first : trial.second),
      text(first_is_a ? trial.second : trial.first), title);
  sample.beginning = "Answer: Segment";
  sample.choices = {" A", " B"};
  sample.answers = {first_is_a ? "A" : "B"};
  sample.needles = {text(trial.first), text(trial.second)};
  sample.depth = static_cast<double>(trial.first) / words;
  return sample;
}

Sample sort_20(const SampleInput& input) { return order_recall(input, 20); }
Sample sort_50(const SampleInput& input) { return order_recall(input, 50); }

}  // namespace

std::vector<Task> sort_tasks() {
  constexpr std::string_view kSuite = "sort";
  constexpr std::string_view kSource = "SORT, arXiv 2410.08133, BSD-3-Clause";
  std::vector<Task> tasks{{kSuite, "sort_20", "which of two segments of 20 words came first", kSource,
                           Scorer::kFirstLetter, 1, kLeastSortExcerpt, sort_20},
                          {kSuite, "sort_50", "which of two segments of 50 words came first", kSource,
                           Scorer::kFirstLetter, 1, kLeastSortExcerpt, sort_50}};
  for (Task& task : tasks) task.asking = Asking::kChoice;
  return tasks;
}

}  // namespace loci
