// SCBench (arXiv 2412.10319, MIT): several questions about one context, as a conversation (turns) or as requests that
// know nothing of each other (requests). The history of a conversation holds the right answers. A request finds a
// context that was read without any question: what a method has dropped by then is gone for all of them.
//
// Contexts are made here; those published lie in a data set. The texts of kv, mf and vt are the published ones, that of
// prefix_suffix is our own.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "eval/ruler.h"
#include "eval/suites.h"

namespace loci {
namespace {

constexpr size_t kTurns = 5;

// Places of so many questions in a context of `units`, in the order in which they are asked.
std::vector<size_t> places(PythonRandom& random, uint32_t units) { return random.sample(units, kTurns); }

void conclude(Sample& sample, const std::string& first_needle) {
  for (const Turn& turn : sample.turns) {
    sample.answers.insert(sample.answers.end(), turn.answers.begin(), turn.answers.end());
  }
  sample.depth = static_cast<double>(sample.prompt.find(first_needle)) / static_cast<double>(sample.prompt.size());
}

Sample key_values(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  std::vector<std::string> keys, values, pairs;
  for (uint32_t i = 0; i < input.units; ++i) {
    keys.push_back(random.uuid());
    values.push_back(random.uuid());
    pairs.push_back(fmt::format("\"{}\": \"{}\"", keys.back(), values.back()));
  }
  Sample sample;
  for (const size_t i : places(random, input.units)) {
    sample.turns.push_back(
        {fmt::format("Key: \"{}\"\n", keys[i]), "The value associated with the specified key is: ", {values[i]}});
    sample.needles.push_back(pairs[i]);
  }
  sample.prompt = fmt::format(
      "Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n{{{}}}",
      fmt::join(pairs, ", "));
  conclude(sample, sample.needles.front());
  return sample;
}

// Five ranks of a list of numbers whose bounds are drawn.
Sample math_find_turns(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const int64_t most = random.between(80, 99);
  const int64_t least = random.between(0, 19);
  std::vector<int64_t> numbers(std::max(input.units, 3U));
  for (int64_t& number : numbers) number = random.between(least, most);
  const std::set<int64_t> distinct(numbers.begin(), numbers.end());
  const std::vector<int64_t> ascending(distinct.begin(), distinct.end());
  const size_t last = ascending.size() - 1;
  const auto at = [&](size_t place) { return ascending[std::min(place, last)]; };
  struct Rank {
    std::string_view name;
    int64_t value;
  };
  std::vector<Rank> ranks{{"largest number", at(last)},
                          {"second largest number", at(last - std::min<size_t>(1, last))},
                          {"third largest number", at(last - std::min<size_t>(2, last))},
                          {"smallest number", at(0)},
                          {"second smallest number", at(1)}};
  random.shuffle(ranks);
  Sample sample;
  sample.prompt = fmt::format("[{}]", fmt::join(numbers, ", "));
  for (const Rank& rank : ranks) {
    sample.turns.push_back(
        {fmt::format("What is the {} of the list?\n\nYou should answer with only one number, no other words. ",
                     rank.name),
         fmt::format("The {} of the list is: ", rank.name),
         {fmt::format("{}", rank.value)}});
    sample.needles.push_back(fmt::format("{}", rank.value));
  }
  conclude(sample, sample.needles.front());
  return sample;
}

std::vector<std::string> chain_names(PythonRandom& random, size_t count, std::set<std::string>& taken) {
  std::vector<std::string> names;
  while (names.size() < count) {
    std::string name = random.letters("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 5);
    if (taken.insert(name).second) names.push_back(std::move(name));
  }
  return names;
}

// RULER's variable tracking with three chains, each asked for.
Sample tracking_turns(const SampleInput& input) {
  constexpr size_t kChains = 3;
  constexpr size_t kNames = 5;
  PythonRandom random(input.sample_seed);
  std::set<std::string> taken;
  std::vector<std::string> lines(input.units, std::string(kNoise));
  Sample sample;
  std::vector<std::string> values;
  for (size_t c = 0; c < kChains; ++c) {
    const std::vector<std::string> names = chain_names(random, kNames, taken);
    std::string value;
    do {
      value = fmt::format("{}", random.between(10000, 99999));
    } while (std::find(values.begin(), values.end(), value) != values.end());
    values.push_back(value);
    std::vector<std::string> statements{fmt::format("VAR {} = {}", names[0], value)};
    for (size_t i = 1; i < kNames; ++i) statements.push_back(fmt::format("VAR {} = VAR {} ", names[i], names[i - 1]));
    std::vector<size_t> at = random.sample(lines.size(), kNames);
    std::sort(at.begin(), at.end());
    for (size_t i = 0; i < kNames; ++i) {
      lines.insert(lines.begin() + static_cast<ptrdiff_t>(at[i] + i), statements[i]);
    }
    sample.turns.push_back(
        {fmt::format("Question: Find all variables that are assigned the value {} in the text above.", value),
         fmt::format(" Answer: According to the chain(s) of variable assignment in the text above, {} variables are "
                     "assigned the value {}, they are: ",
                     kNames, value),
         names});
    sample.needles.insert(sample.needles.end(), statements.begin(), statements.end());
  }
  sample.prompt =
      fmt::format("Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{}",
                  fmt::join(lines, "\n"));
  conclude(sample, sample.needles.front());
  return sample;
}

// Every string has a prefix and a suffix of its own.
Sample prefix_suffix(const SampleInput& input) {
  constexpr size_t kEnd = 6;
  constexpr size_t kWhole = 30;
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  PythonRandom random(input.sample_seed);
  std::vector<std::string> strings;
  std::set<std::string> ends;
  while (strings.size() < input.units) {
    std::string text = random.letters(kAlphabet, kWhole);
    const std::string both = text.substr(0, kEnd) + text.substr(kWhole - kEnd);
    if (ends.insert(both).second) strings.push_back(std::move(text));
  }
  Sample sample;
  for (const size_t i : places(random, input.units)) {
    const std::string& text = strings[i];
    sample.turns.push_back({fmt::format("Which string begins with \"{}\" and ends with \"{}\"?\n", text.substr(0, kEnd),
                                        text.substr(kWhole - kEnd)),
                            "The string is: ",
                            {text}});
    sample.needles.push_back(text);
  }
  sample.prompt = fmt::format("Remember the strings of this list.\n\n{}", fmt::join(strings, "\n"));
  conclude(sample, sample.needles.front());
  return sample;
}

}  // namespace

std::vector<Task> scbench_tasks() {
  constexpr std::string_view kSuite = "scbench";
  constexpr std::string_view kSource = "after SCBench, arXiv 2412.10319, MIT; contexts made here";
  const auto task = [&](std::string_view name, std::string_view measures, Scorer scorer, uint32_t tokens,
                        uint32_t least, Sample (*generate)(const SampleInput&), Asking asking) {
    Task out{kSuite, name, measures, kSource, scorer, tokens, least, generate};
    out.asking = asking;
    return out;
  };
  return {task("kv_turns", "five keys of a JSON object, in turn", Scorer::kContains, 150, kTurns, key_values,
               Asking::kTurns),
          task("kv_requests", "five keys of a JSON object, apart", Scorer::kContains, 150, kTurns, key_values,
               Asking::kRequests),
          task("mf_turns", "five ranks in a list of numbers, in turn", Scorer::kFirstNumber, 5, 24, math_find_turns,
               Asking::kTurns),
          task("mf_requests", "five ranks in a list of numbers, apart", Scorer::kFirstNumber, 5, 24, math_find_turns,
               Asking::kRequests),
          task("vt_turns", "three chains of assignments, in turn", Scorer::kAll, 30, kTurns, tracking_turns,
               Asking::kTurns),
          task("vt_requests", "three chains of assignments, apart", Scorer::kAll, 30, kTurns, tracking_turns,
               Asking::kRequests),
          task("prefix_suffix_turns", "five strings of a list by their ends, in turn", Scorer::kContains, 150, kTurns,
               prefix_suffix, Asking::kTurns),
          task("prefix_suffix_requests", "five strings of a list by their ends, apart", Scorer::kContains, 150, kTurns,
               prefix_suffix, Asking::kRequests)};
}

}  // namespace loci
