// RULER's variable tracking: one chain of assignments in noise, and the question which variables hold its value. A
// worked example stands before it: the same lines in all prompts of a run, with names and a value of this prompt.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "eval/ruler.h"

namespace loci {
namespace {

constexpr size_t kHops = 4;
constexpr std::string_view kCapitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view kExampleValue = "12345";

struct Chain {
  std::vector<std::string> names;
  std::vector<std::string> statements;
};

std::vector<std::string> draw_names(PythonRandom& random, size_t length) {
  for (;;) {
    std::vector<std::string> names;
    for (size_t i = 0; i <= kHops; ++i) names.push_back(random.letters(kCapitals, length));
    if (std::set<std::string>(names.begin(), names.end()).size() == names.size()) return names;
  }
}

Chain make_chain(std::vector<std::string> names, std::string_view value) {
  Chain chain{std::move(names), {}};
  chain.statements.push_back(fmt::format("VAR {} = {}", chain.names[0], value));
  for (size_t i = 1; i < chain.names.size(); ++i) {
    chain.statements.push_back(fmt::format("VAR {} = VAR {} ", chain.names[i], chain.names[i - 1]));
  }
  return chain;
}

std::string draw_value(MersenneTwister& numpy) { return fmt::format("{}", numpy_randint(numpy, 10000, 99999)); }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

struct Text {
  std::string prompt, beginning;
  double depth = 0;
};

Text hide(const Chain& chain, std::string_view value, uint32_t lines, PythonRandom& random) {
  std::vector<std::string> text(lines, std::string(kNoise));
  std::vector<size_t> places = random.sample(lines, chain.statements.size());
  std::sort(places.begin(), places.end());
  for (size_t i = 0; i < places.size(); ++i) {
    text.insert(text.begin() + static_cast<ptrdiff_t>(places[i] + i), chain.statements[i]);
  }
  Text out;
  out.depth = static_cast<double>(places.front()) / lines;
  out.prompt = fmt::format(
      "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{}\nQuestion: Find all "
      "variables that are assigned the value {} in the text above.",
      fmt::join(text, "\n"), value);
  out.beginning = fmt::format(
      " Answer: According to the chain(s) of variable assignment in the text above, {} variables are assigned the "
      "value {}, they are: ",
      chain.names.size(), value);
  return out;
}

// Names one after the other, as published: a new name that equals an old one not yet replaced is replaced with it.
std::string renamed(const VtExample& example, PythonRandom& random, MersenneTwister& numpy) {
  std::string text = fmt::format("{} {}\n", example.question, fmt::join(example.names, " "));
  for (const std::string& name : example.names) replace_all(text, name, random.letters(kCapitals, name.size()));
  replace_all(text, kExampleValue, draw_value(numpy));
  return text;
}

}  // namespace

VtExample variable_tracking_example(uint64_t seed, uint32_t lines) {
  PythonRandom random(seed);
  const Chain chain = make_chain(draw_names(random, 3), kExampleValue);
  const Text text = hide(chain, kExampleValue, lines, random);
  return {text.prompt + text.beginning, chain.names};
}

Sample variable_tracking(const SampleInput& input) {
  PythonRandom random(input.sample_seed);
  MersenneTwister numpy(static_cast<uint32_t>(input.sample_seed));
  std::vector<std::string> names = draw_names(random, 5);
  const std::string value = draw_value(numpy);
  const Chain chain = make_chain(std::move(names), value);
  const Text text = hide(chain, value, input.units, random);
  const VtExample example = variable_tracking_example(input.seed, input.vt_example_lines);
  Sample sample;
  sample.prompt = renamed(example, random, numpy) + "\n" + text.prompt;
  sample.beginning = text.beginning;
  sample.answers = chain.names;
  sample.needles = chain.statements;
  sample.depth = text.depth;
  return sample;
}

}  // namespace loci
