#include "eval/segment_order.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace loci {
namespace {

constexpr uint32_t kSegment = 50;  // words
constexpr uint32_t kBins = 4;
constexpr uint32_t kLongExcerpt = 5000;

struct Distances {
  uint32_t least, most;  // words between the beginnings: more than `least`
};

Distances distances(uint32_t words, uint32_t bin) {
  const uint32_t far = static_cast<uint32_t>(uint64_t{words} * 4 / 5);
  const std::array<uint32_t, kBins + 1> edges =
      words < kLongExcerpt ? std::array<uint32_t, kBins + 1>{kSegment, words / 4, words / 3, words / 2, far}
                           : std::array<uint32_t, kBins + 1>{kSegment, 1000, words / 4, words / 2, far};
  return {edges[bin], edges[bin + 1]};
}

std::vector<uint32_t> sentence_beginnings(const Essay& essay, size_t start, uint32_t words) {
  std::vector<uint32_t> out;
  for (uint32_t word = 0; word < words; ++word) {
    if (word == 0 || essay.begins_sentence((start + word) % essay.words())) out.push_back(word);
  }
  return out;
}

using Pair = std::pair<uint32_t, uint32_t>;  // the earlier one first

// One beginning drawn from all, the other from those at the right distance; drawn again if there is none. A text of few
// sentences has perhaps no such pair: then any distance that keeps the segments apart will do, and at last any two.
Pair draw_pair(const std::vector<uint32_t>& beginnings, const Distances& range, uint32_t words, PythonRandom& random) {
  constexpr int kTries = 200;
  for (const Distances& wanted : {range, Distances{kSegment - 1, words}}) {
    for (int i = 0; i < kTries; ++i) {
      const uint32_t one = random.choice(beginnings);
      std::vector<uint32_t> others;
      for (const uint32_t other : beginnings) {
        const uint32_t distance = std::max(one, other) - std::min(one, other);
        if (distance > wanted.least && distance <= wanted.most) others.push_back(other);
      }
      if (others.empty()) continue;
      const uint32_t other = random.choice(others);
      return {std::min(one, other), std::max(one, other)};
    }
  }
  return {0, words - kSegment};
}

}  // namespace

Sample segment_order(const SampleInput& input) {
  const Essay& essay = input.data.essay;
  PythonRandom random(input.sample_seed);
  const uint32_t words = std::max(input.units, kLeastExcerpt);
  size_t start = static_cast<size_t>(random.below(essay.words()));
  while (start > 0 && !essay.begins_sentence(start)) --start;
  const std::vector<uint32_t> beginnings = sentence_beginnings(essay, start, words - kSegment);
  const auto [first, second] = draw_pair(beginnings, distances(words, input.index % kBins), words, random);
  const auto segment = [&](uint32_t at) { return essay.words_from((start + at) % essay.words(), kSegment); };
  const bool first_is_a = (input.index + input.index / kBins) % 2 == 0;  // in turn, either order in every bin
  Sample sample;
  sample.prompt = fmt::format(
      "Read this part of a book: {}\nWhich of these two segments comes first in it?\nSegment A: {}\nSegment B: "
      "{}\nReply "
      "with A or B.",
      essay.words_from(start, words), segment(first_is_a ? first : second), segment(first_is_a ? second : first));
  sample.beginning = "Answer: Segment";
  sample.answers = {first_is_a ? "A" : "B"};
  sample.needles = {segment(first), segment(second)};
  sample.depth = static_cast<double>(first) / words;
  return sample;
}

}  // namespace loci
