// InfiniteBench (arXiv 2402.13718, MIT): its tasks that are made, not collected: a pass key and a string of digits in
// noise, a JSON object of uuids, the rank of a number in a list, a chain of calls in a file of functions. Prompts are
// those for models without chat tuning.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "eval/ruler.h"
#include "eval/suites.h"

namespace loci {
namespace {

constexpr std::string_view kInfiniteBench = "InfiniteBench, arXiv 2402.13718, MIT";

std::string digits(PythonRandom& random) {
  std::string out;
  for (int i = 0; i < 5; ++i) out += static_cast<char>('0' + random.between(0, 9));
  return out;
}

// Five digits, then five of those that stand already, each doubled where it is.
std::string repeating_digits(PythonRandom& random) {
  std::string out = digits(random);
  for (int i = 0; i < 5; ++i) {
    const auto at = static_cast<size_t>(random.between(0, 4 + i));
    out.insert(at, 1, out[at]);
  }
  return out;
}

// A line among noise, units of it. Published positions sweep over the lines in even steps.
Sample line_in_noise(const SampleInput& input, const std::string& needle, std::string answer) {
  const auto before = static_cast<uint32_t>(input.depth.value_or(spread_depth(input.index)) * input.units + 0.5);
  Sample sample;
  for (uint32_t i = 0; i <= input.units; ++i) {
    if (i == before) sample.prompt += needle + "\n";
    if (i < input.units) sample.prompt += std::string(kNoise) + "\n";
  }
  sample.answers = {std::move(answer)};
  sample.needles = {needle};
  sample.depth = static_cast<double>(before) / std::max(input.units, 1U);
  return sample;
}

Sample passkey_line(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const std::string key = digits(random);
  Sample sample =
      line_in_noise(input, fmt::format("The pass key is {}. Remember it. {} is the pass key.", key, key), key);
  sample.prompt = fmt::format(
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz you "
      "about the important information.\n\n{}\n\nWhat is the pass key?\n\n",
      sample.prompt);
  sample.beginning = "The pass key is";
  return sample;
}

Sample number_string(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const std::string key = repeating_digits(random);
  Sample sample = line_in_noise(
      input, fmt::format("The sequence of digits is {}. Remember it. {} is the sequence of digits.", key, key), key);
  sample.prompt = fmt::format(
      "There is an important info hidden inside a lot of irrelevant text. Find it. I will quiz you about the important "
      "information there.\n\n{}\n\nWhat is the sequence of digits?\n\n",
      sample.prompt);
  sample.beginning = "The sequence of digits is";
  return sample;
}

Sample key_value_pairs(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const uint32_t pairs = std::max(input.units, 1U);
  const uint32_t asked =
      std::min(static_cast<uint32_t>(input.depth.value_or(spread_depth(input.index)) * pairs), pairs - 1);
  Sample sample;
  std::string asked_key;
  for (uint32_t i = 0; i < pairs; ++i) {
    const std::string key = random.uuid();
    const std::string value = random.uuid();
    const std::string pair = fmt::format("\"{}\": \"{}\"", key, value);
    sample.prompt += fmt::format("{}{}", i == 0 ? "" : ", ", pair);
    if (i != asked) continue;
    asked_key = key;
    sample.answers = {value};
    sample.needles = {pair};
  }
  sample.prompt = fmt::format(
      "Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n{{{}}}\n\n\n"
      "Key: \"{}\"\n",
      sample.prompt, asked_key);
  sample.beginning = "The value associated with the specified key is: ";
  sample.depth = static_cast<double>(asked) / pairs;
  return sample;
}

struct Rank {
  std::string_view name;
  int from_top;     // 1 the largest; 0: counted from below, or the median
  int from_bottom;  // 1 the smallest
};

constexpr std::array<Rank, 7> kRanks{{{"largest number", 1, 0},
                                      {"second largest number", 2, 0},
                                      {"third largest number", 3, 0},
                                      {"smallest number", 0, 1},
                                      {"second smallest number", 0, 2},
                                      {"third smallest number", 0, 3},
                                      {"median number", 0, 0}}};

// Equal numbers have one rank; the median counts each. Of an even count it is the mean of the two in the middle.
std::string number_of_rank(const std::vector<int64_t>& numbers, const Rank& rank) {
  const std::set<int64_t> distinct(numbers.begin(), numbers.end());
  const std::vector<int64_t> ascending(distinct.begin(), distinct.end());
  const auto clamped = [&](int r) { return std::min(static_cast<size_t>(r), ascending.size()); };
  if (rank.from_top > 0) return fmt::format("{}", ascending[ascending.size() - clamped(rank.from_top)]);
  if (rank.from_bottom > 0) return fmt::format("{}", ascending[clamped(rank.from_bottom) - 1]);
  std::vector<int64_t> sorted = numbers;
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  if (sorted.size() % 2 == 1) return fmt::format("{}", sorted[half]);
  const int64_t twice = sorted[half - 1] + sorted[half];
  return fmt::format("{}{}", twice / 2, twice % 2 == 1 ? ".5" : "");
}

Sample number_in_list(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const Rank& rank = kRanks[input.index % kRanks.size()];
  // The bound that is asked for is drawn, lest it be always 99 or 0.
  const int64_t most = rank.from_top > 0 ? random.between(80, 99) : 99;
  const int64_t least = rank.from_bottom > 0 ? random.between(0, 19) : 0;
  std::vector<int64_t> numbers(input.units);
  for (int64_t& number : numbers) number = random.between(least, most);
  Sample sample;
  sample.answers = {number_of_rank(numbers, rank)};
  sample.prompt = fmt::format(
      "Find the {} from the list below:\n\n[{}]\n\nYou should answer with only one number, no other words. ", rank.name,
      fmt::join(numbers, ", "));
  sample.beginning = fmt::format("The {} of the list is: ", rank.name);
  const auto at = std::find_if(numbers.begin(), numbers.end(),
                               [&](int64_t n) { return fmt::format("{}", n) == sample.answers[0]; });
  if (at != numbers.end()) sample.needles = {sample.answers[0]};  // a median may stand between two
  sample.depth = static_cast<double>(at - numbers.begin()) / static_cast<double>(numbers.size());
  return sample;
}

std::string plus(int64_t c) { return c < 0 ? fmt::format("- {}", -c) : fmt::format("+ {}", c); }

// Layers of functions: each calls one of the next layer, those of the last return x and a constant.
Sample chain_of_calls(const SampleInput& input) {
  constexpr std::array<uint32_t, 5> kLayers{2, 4, 6, 8, 10};
  PythonRandom random(input.sample_seed);
  const uint32_t layers = kLayers[input.index % kLayers.size()];
  const uint32_t wide = std::max(input.units / layers, 1U);
  std::vector<size_t> ids = random.sample(size_t{2} * layers * wide, size_t{layers} * wide);
  struct Function {
    int64_t called = -1;  // the place of the function that it calls
    int64_t added = 0;
  };
  std::vector<Function> functions(ids.size());
  for (uint32_t layer = 0; layer < layers; ++layer) {
    for (uint32_t i = 0; i < wide; ++i) {
      Function& made = functions[size_t{layer} * wide + i];
      if (layer + 1 < layers) {
        made.called = static_cast<int64_t>((uint64_t{layer} + 1) * wide + random.below(wide));
      }
      made.added = random.between(-12, 17);
    }
  }
  const auto text = [&](size_t place) {
    const Function& f = functions[place];
    const std::string value = f.called < 0 ? "x" : fmt::format("func_{}(x)", ids[static_cast<size_t>(f.called)] + 1);
    return fmt::format("def func_{}(x):\n    return {} {}\n", ids[place] + 1, value, plus(f.added));
  };
  std::vector<size_t> order(ids.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ids[a] < ids[b]; });
  std::vector<std::string> file;
  for (const size_t place : order) file.push_back(text(place));

  auto place = static_cast<int64_t>(random.below(wide));
  const std::string name = fmt::format("func_{}", ids[static_cast<size_t>(place)] + 1);
  const int64_t x = random.between(-10, 10);
  int64_t result = x;
  Sample sample;
  for (; place >= 0; place = functions[static_cast<size_t>(place)].called) {
    result += functions[static_cast<size_t>(place)].added;
    sample.needles.push_back(text(static_cast<size_t>(place)));
  }
  sample.prompt = fmt::format(
      "There is a function called {} in the following Python code.\n\n{}\n\nPlease compute the exact value of {}({}). ",
      name, fmt::join(file, "\n"), name, x);
  sample.beginning = fmt::format("The value of {}({}) is", name, x);
  sample.answers = {fmt::format("{}", result)};
  sample.depth = static_cast<double>(sample.prompt.find(sample.needles[0])) / static_cast<double>(sample.prompt.size());
  return sample;
}

}  // namespace

std::vector<Task> infinitebench_tasks() {
  constexpr std::string_view kSuite = "infinitebench";
  return {
      {kSuite, "passkey_line", "five digits in noise, told twice", kInfiniteBench, Scorer::kFirstInteger, 6, 1,
       passkey_line},
      {kSuite, "number_string", "ten digits with repeats in noise, told twice", kInfiniteBench, Scorer::kFirstInteger,
       12, 1, number_string},
      {kSuite, "key_value_pairs", "the value of a key in a JSON object of uuids", kInfiniteBench, Scorer::kWord, 50, 1,
       key_value_pairs},
      {kSuite, "math_find", "the largest, smallest, ... number of a list, or its median", kInfiniteBench,
       Scorer::kFirstNumber, 3, 24, number_in_list},
      {kSuite, "code_run", "the value of a chain of function calls", kInfiniteBench, Scorer::kLastInteger, 5, 10,
       chain_of_calls},
  };
}

}  // namespace loci
