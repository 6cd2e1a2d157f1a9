// PI-LLM (arXiv 2506.08184, MIT): proactive interference. A stream sets the values of keys again and again; only the
// last value of each counts, and all earlier ones are in its way. The stream's order and the prompt are as published;
// keys and values, a data set of their own there, are words of the lists that ship.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "eval/stream.h"
#include "eval/suites.h"

namespace loci {
namespace {

constexpr std::array<std::string_view, 46> kKeys{
    "animal",     "bird",      "building",   "city",      "clothing", "color",     "country",  "crop",
    "dance",      "disease",   "drink",      "emotion",   "fabric",   "festival",  "fish",     "flower",
    "fruit",      "furniture", "game",       "gem",       "hobby",    "insect",    "jewel",    "language",
    "landmark",   "material",  "medicine",   "metal",     "music",    "mythology", "painting", "planet",
    "plant",      "poem",      "profession", "reptile",   "river",    "ship",      "song",     "sport",
    "technology", "tool",      "tree",       "vegetable", "vehicle",  "weapon"};

// All keys are in the stream, the first `asked` of them are asked for.
struct Stream {
  uint32_t keys = 46;
  uint32_t asked = 46;
  uint32_t updates = 1;
  uint32_t words = 1;  // of a value
  bool shuffled = true;
};

// Several words become one, each with a capital, as published ("cap-strip").
std::string one_word(const std::vector<std::string>& words, const std::vector<size_t>& drawn, size_t first,
                     size_t count) {
  if (count == 1) return words[drawn[first]];
  std::string out;
  for (size_t i = first; i < first + count; ++i) {
    std::string word = words[drawn[i]];
    word.erase(std::remove(word.begin(), word.end(), ' '), word.end());
    if (!word.empty()) word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
    out += word;
  }
  return out;
}

// Words that a sentence can tell: letters and blanks alone.
std::vector<std::string> plain_words(const SuiteData& data) {
  std::vector<std::string> out;
  for (const std::string& word : data.words) {
    const bool plain = std::all_of(word.begin(), word.end(), [](char c) { return c == ' ' || (c >= 'a' && c <= 'z'); });
    if (plain && !word.empty()) out.push_back(word);
  }
  return out;
}

uint32_t count_plain_words(const SuiteData& data) { return static_cast<uint32_t>(plain_words(data).size()); }

Sample interference(const SampleInput& input, const Stream& stream) {
  PythonRandom random(input.sample_seed);
  const std::vector<std::string> words = plain_words(input.data);
  const std::vector<size_t> keys = random.sample(kKeys.size(), stream.keys);
  const size_t updates = std::max<size_t>(1, std::min<size_t>(stream.updates, words.size() / stream.words));
  std::vector<KeyedValue> pairs;
  for (uint32_t key = 0; key < stream.keys; ++key) {
    const std::vector<size_t> drawn = random.sample(words.size(), updates * stream.words);
    for (size_t u = 0; u < updates; ++u) pairs.push_back({key, one_word(words, drawn, u * stream.words, stream.words)});
  }
  if (stream.shuffled) pairs = without_repeats(std::move(pairs), random);
  Sample sample;
  std::string text;
  std::map<uint32_t, std::pair<std::string, size_t>> last;  // by key, the pair and where it stands
  for (const KeyedValue& pair : pairs) {
    const std::string told = fmt::format("{}: {}; ", kKeys[keys[pair.key]], pair.value);
    last[pair.key] = {told, text.size()};
    text += told;
  }
  const uint32_t asked = std::min(stream.asked, stream.keys);
  std::vector<std::string_view> names;
  for (uint32_t key = 0; key < asked; ++key) {
    names.push_back(kKeys[keys[key]]);
    const std::string& told = last[key].first;
    sample.needles.push_back(told.substr(0, told.size() - 2));
    sample.answers.push_back(fmt::format("The current value of {} is {}.", names.back(),
                                         sample.needles.back().substr(names.back().size() + 2)));
  }
  sample.depth = static_cast<double>(last[0].second) / static_cast<double>(text.size());
  const std::string list = fmt::format("{}", fmt::join(names, ", "));
  sample.prompt = fmt::format(
      "As my secretary, I need you to carefully read a text stream where the values of multiple keys are being "
      "continuously updated.The {} keys to track include {}. I will ask you to identify the value of each key "
      "later.\n\nThe text stream starts on the next line.\n {}\n\nWhat are the current value of each key ({}) you are "
      "tracking? End your response with: 'The current value of <key> is <value>.'",
      asked, list, text, list);
  return sample;
}

Sample pi_updates(const SampleInput& input) { return interference(input, {.updates = input.units}); }
Sample pi_few_keys(const SampleInput& input) {
  return interference(input, {.keys = 8, .asked = 8, .updates = input.units});
}
Sample pi_keys(const SampleInput& input) {
  return interference(input, {.keys = input.units, .asked = input.units, .updates = 125});
}
Sample pi_asked(const SampleInput& input) { return interference(input, {.asked = 8, .updates = input.units}); }
Sample pi_item_length(const SampleInput& input) { return interference(input, {.updates = 4, .words = input.units}); }
Sample pi_in_order(const SampleInput& input) {
  return interference(input, {.updates = input.units, .shuffled = false});
}

}  // namespace

std::vector<Task> pi_llm_tasks() {
  constexpr std::string_view kSuite = "pi-llm";
  constexpr uint32_t kAnswer = 1024;
  constexpr std::string_view kSource = "PI-LLM, arXiv 2506.08184, MIT; other words";
  std::vector<Task> tasks{
      {kSuite, "pi_updates", "the last values of 46 keys, updated the more often the longer the prompt", kSource,
       Scorer::kCurrentValues, kAnswer, 2, pi_updates, count_plain_words},
      {kSuite, "pi_few_keys", "the same of 8 keys", kSource, Scorer::kCurrentValues, kAnswer, 2, pi_few_keys,
       count_plain_words},
      {kSuite, "pi_keys", "the last values of 2 to 46 keys of 125 updates", kSource, Scorer::kCurrentValues, kAnswer, 2,
       pi_keys, [](const SuiteData&) { return static_cast<uint32_t>(kKeys.size()); }},
      {kSuite, "pi_asked", "the last values of 8 of 46 keys", kSource, Scorer::kCurrentValues, kAnswer, 2, pi_asked,
       count_plain_words},
      {kSuite, "pi_item_length", "the last of 4 values of 46 keys, the longer the longer the prompt", kSource,
       Scorer::kCurrentValues, kAnswer, 1, pi_item_length,
       [](const SuiteData& data) { return count_plain_words(data) / 4; }},
      {kSuite, "pi_in_order", "the last values of 46 keys, one key after the other", kSource, Scorer::kCurrentValues,
       kAnswer, 2, pi_in_order, count_plain_words}};
  for (Task& task : tasks) task.one_line = false;
  return tasks;
}

}  // namespace loci
