#include "eval/retrieval.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/ruler.h"

namespace loci {
Sample passkey(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const std::string key = fmt::format("{}", random.between(1, 50000));
  const std::string needle = fmt::format("The pass key is {}. Remember it. {} is the pass key.", key, key);
  std::string garbage;
  while (garbage.size() < input.units) garbage += std::string(garbage.empty() ? "" : " ") + std::string(kNoise);
  garbage.resize(input.units);
  auto cut = static_cast<size_t>(random.between(0, input.units));
  if (input.depth) cut = static_cast<size_t>(*input.depth * input.units);
  Sample sample;
  sample.prompt = fmt::format(
      "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will quiz you "
      "about the important information there.\n{}\n{}\n{}\nWhat is the pass key?",
      garbage.substr(0, cut), needle, garbage.substr(cut));
  sample.beginning = " The pass key is";
  sample.answers = {key};
  sample.needles = {needle};
  sample.depth = static_cast<double>(cut) / std::max<double>(1, input.units);
  return sample;
}

Sample key_value(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  const auto asked = std::min(static_cast<uint32_t>(input.depth.value_or(spread_depth(input.index)) * input.units),
                              std::max(input.units, 1U) - 1);
  Sample sample;
  std::string pairs;
  std::string asked_key;
  for (uint32_t i = 0; i < input.units; ++i) {
    const std::string key = random.uuid();
    const std::string value = random.uuid();
    const std::string pair = fmt::format("\"{}\": \"{}\"", key, value);
    pairs += fmt::format("{}{}", i == 0 ? "" : ", ", pair);
    if (i != asked) continue;
    asked_key = key;
    sample.answers = {value};
    sample.needles = {pair};
  }
  sample.prompt = fmt::format(
      "Extract the value corresponding to the specified key in the JSON object below.\n\nJSON data:\n{{{}}}\n\nKey: "
      "\"{}\"\n",
      pairs, asked_key);
  sample.beginning = "The value associated with the specified key is: ";
  sample.depth = static_cast<double>(asked) / input.units;
  return sample;
}

}  // namespace loci
