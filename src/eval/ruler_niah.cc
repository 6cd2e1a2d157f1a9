// RULER's needles in a haystack: sentences "One of the special magic numbers for KEY is: VALUE." in noise, in an essay
// or among needles that nobody asks for.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "eval/ruler.h"

namespace loci {
namespace {

enum class Hay { kNoise, kEssay, kNeedles };
enum class Kind { kNumber, kWord, kUuid };

struct NiahTask {
  Hay hay = Hay::kNoise;
  Kind key = Kind::kWord;
  Kind value = Kind::kNumber;
  size_t keys = 1;
  size_t values = 1;   // of a key
  size_t queries = 1;  // keys asked for
};

const char* plural(Kind kind) {
  switch (kind) {
    case Kind::kNumber:
      return "numbers";
    case Kind::kWord:
      return "words";
    case Kind::kUuid:
      return "uuids";
  }
  return "?";
}

std::string draw(Kind kind, const SuiteData& data, PythonRandom& random) {
  switch (kind) {
    case Kind::kNumber:
      return fmt::format("{}", random.between(1000000, 9999999));
    case Kind::kWord:
      return data.keys.at(random.below(data.keys.size()));
    case Kind::kUuid:
      return random.uuid();
  }
  return {};
}

std::string needle(const NiahTask& task, const std::string& key, const std::string& value) {
  return fmt::format("One of the special magic {} for {} is: {}.", plural(task.value), key, value);
}

// Of its own stream, so that it moves no other draw.
size_t random_start(const Essay& essay, const SampleInput& input) {
  constexpr uint64_t kStream = 0x5851f42d4c957f2dULL;
  if (essay.words() == 0) return 0;
  return essay.sentence_at(static_cast<size_t>(PythonRandom(input.sample_seed ^ kStream).below(essay.words())));
}

size_t place_at(double depth, size_t count) { return static_cast<size_t>(depth * static_cast<double>(count)); }

// Depths are drawn from 40 rounded ones without replacement; needle i goes to the i-th of them in ascending order.
std::string essay_context(const SampleInput& input, const std::vector<std::string>& needles, PythonRandom& random) {
  const Essay& essay = input.data.essay;
  const std::string text = essay.words_from(input.random_start ? random_start(essay, input) : 0, input.units);
  const std::vector<std::string_view> sentences = split_sentences(text);
  std::vector<size_t> places;
  for (const size_t i : random.sample(40, needles.size())) {
    const auto depth = static_cast<double>((i * 200 + 39) / 78);  // round(100 * i / 39)
    places.push_back(static_cast<size_t>(static_cast<double>(sentences.size()) * (depth / 100)));
  }
  if (input.depth && places.size() == 1) places[0] = place_at(*input.depth, sentences.size());
  std::sort(places.begin(), places.end());
  // Empty stretches between needles leave their blank, as in the published code.
  std::vector<std::string> parts;
  size_t from = 0;
  for (size_t i = 0; i <= needles.size(); ++i) {
    const size_t to = i < needles.size() ? places[i] : sentences.size();
    parts.push_back(fmt::format("{}", fmt::join(sentences.begin() + static_cast<ptrdiff_t>(from),
                                                sentences.begin() + static_cast<ptrdiff_t>(to), " ")));
    if (i < needles.size()) parts.push_back(needles[i]);
    from = to;
  }
  return fmt::format("{}", fmt::join(parts, " "));
}

std::string lines_context(const NiahTask& task, const SampleInput& input, const std::vector<std::string>& needles,
                          PythonRandom& random) {
  std::vector<std::string> lines(input.units, std::string(kNoise));
  if (task.hay == Hay::kNeedles) {
    for (std::string& line : lines) {
      const std::string key = draw(task.key, input.data, random);
      line = needle(task, key, draw(task.value, input.data, random));
    }
  }
  std::vector<size_t> places = random.sample(input.units, needles.size());
  if (input.depth && places.size() == 1) places[0] = place_at(*input.depth, input.units);
  std::sort(places.rbegin(), places.rend());
  for (size_t i = 0; i < needles.size(); ++i) {
    lines.insert(lines.begin() + static_cast<ptrdiff_t>(places[i]), needles[i]);
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

std::string enumerate(const std::vector<std::string>& items) {
  if (items.size() == 1) return items.front();
  return fmt::format("{}, and {}", fmt::join(items.begin(), items.end() - 1, ", "), items.back());
}

Sample generate(const NiahTask& task, const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  std::vector<std::string> keys;
  std::vector<std::vector<std::string>> values;
  std::vector<std::string> needles;
  for (size_t k = 0; k < task.keys; ++k) {
    keys.push_back(draw(task.key, input.data, random));
    values.emplace_back();
    for (size_t v = 0; v < task.values; ++v) {
      values.back().push_back(draw(task.value, input.data, random));
      needles.push_back(needle(task, keys.back(), values.back().back()));
    }
  }
  PythonRandom(input.seed).shuffle(needles);
  const std::string context =
      task.hay == Hay::kEssay ? essay_context(input, needles, random) : lines_context(task, input, needles, random);
  Sample sample;
  std::vector<std::string> asked;
  for (const size_t i : random.sample(task.keys, task.queries)) {
    asked.push_back(keys[i]);
    for (const std::string& value : values[i]) {
      sample.answers.push_back(value);
      sample.needles.push_back(needle(task, keys[i], value));
    }
  }
  const bool many = task.queries * task.values > 1;
  std::string type = plural(task.value);
  if (!many) type.pop_back();
  const std::string query = enumerate(asked);
  sample.prompt = fmt::format(
      "{} special magic {} {} hidden within the following text. Make sure to memorize it. I will quiz you about the {} "
      "afterwards.\n{}\nWhat {} the special magic {} for {} mentioned in the provided text?",
      many ? "Some" : "A", type, many ? "are" : "is", type, context, many ? "are all" : "is", type, query);
  sample.beginning =
      fmt::format(" The special magic {} for {} mentioned in the provided text {}", type, query, many ? "are" : "is");
  sample.depth = static_cast<double>(context.find(sample.needles.front())) / static_cast<double>(context.size());
  return sample;
}

}  // namespace

Sample niah_single_1(const SampleInput& input) { return generate({.hay = Hay::kNoise}, input); }
Sample niah_single_2(const SampleInput& input) { return generate({.hay = Hay::kEssay}, input); }
Sample niah_single_3(const SampleInput& input) { return generate({.hay = Hay::kEssay, .value = Kind::kUuid}, input); }
Sample niah_multikey_1(const SampleInput& input) { return generate({.hay = Hay::kEssay, .keys = 4}, input); }
Sample niah_multikey_2(const SampleInput& input) { return generate({.hay = Hay::kNeedles}, input); }
Sample niah_multikey_3(const SampleInput& input) {
  return generate({.hay = Hay::kNeedles, .key = Kind::kUuid, .value = Kind::kUuid}, input);
}
Sample niah_multivalue(const SampleInput& input) { return generate({.hay = Hay::kEssay, .values = 4}, input); }
Sample niah_multiquery(const SampleInput& input) {
  return generate({.hay = Hay::kEssay, .keys = 4, .queries = 4}, input);
}

}  // namespace loci
