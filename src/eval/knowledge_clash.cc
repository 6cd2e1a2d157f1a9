// Knowledge clashes (Adaptive Chameleon or Stubborn Sloth, arXiv 2305.13300, Apache-2.0): a question with evidence for
// what the model remembers, against it, or both, and options to choose from. The score is the memorization ratio: how
// often the option of memory is likelier than that of the contradicting evidence; "Uncertain" may be likelier than
// both, which the answer tells. The prompt is the published one. Passages, which other models wrote there, are made
// from templates; an essay as the last passage fills the length.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "eval/capitals.h"
#include "eval/suites.h"

namespace loci {
namespace {

enum class Side { kMemory, kCounter };
enum class Form { kPassage, kClaim };

struct Evidence {
  Side side;
  Form form = Form::kPassage;
};

std::string claim(std::string_view country, std::string_view city) {
  return fmt::format("{} is the capital of {}.", city, country);
}

// One claim, told three times, between sentences that only name the country.
std::string passage(std::string_view country, std::string_view city) {
  return fmt::format(
      "{1} is the capital of {0}. The government of {0} has its seat there, and the supreme court of the country is in "
      "{1} "
      "as well. {0} is known for its landscapes and its cooking. When other states send their ambassadors to {0}, they "
      "send them to {1}. Many books have been written about the history of {0}.",
      country, city);
}

Sample clash(const SampleInput& input, const std::vector<Evidence>& evidence) {
  const Conflict conflict = draw_conflict(input.seed, input.index);
  const std::string_view country = conflict.fact.country;
  const auto city = [&](Side side) { return side == Side::kMemory ? conflict.fact.city : conflict.other; };
  Sample sample;
  std::vector<std::string> passages;
  for (const Evidence& e : evidence) {
    passages.push_back(e.form == Form::kClaim ? claim(country, city(e.side)) : passage(country, city(e.side)));
    sample.needles.push_back(passages.back());
  }
  if (input.units > 1) passages.push_back(input.data.essay.first_words(input.units - 1));
  std::string information;
  for (size_t i = 0; i < passages.size(); ++i) {
    information += passages.size() == 1 ? passages[i] : fmt::format("\n{}. {}", i + 1, passages[i]);
  }
  const bool memory_is_a = PythonRandom(input.sample_seed).below(2) == 0;
  const std::string of_memory = claim(country, conflict.fact.city);
  const std::string of_counter = claim(country, conflict.other);
  sample.prompt = fmt::format(
      "According to the given information{}, choose the best choice from the following options.\n\nInformation: {}\n\n"
      "Question: What is the capital of {}?\n\nOptions:\nA: {}\nB: {}\nC: Uncertain.\n\n",
      evidence.size() == 1 ? " and your knowledge" : "", information, country, memory_is_a ? of_memory : of_counter,
      memory_is_a ? of_counter : of_memory);
  sample.beginning = "Answer: ";
  sample.choices = {"A", "B", "C"};
  sample.abstention = 2;
  sample.answers = {memory_is_a ? "A" : "B"};
  sample.depth = static_cast<double>(sample.prompt.find(sample.needles[0])) / static_cast<double>(sample.prompt.size());
  return sample;
}

constexpr Evidence kMemory{Side::kMemory};
constexpr Evidence kCounter{Side::kCounter};

Sample counter_alone(const SampleInput& input) { return clash(input, {kCounter}); }
Sample memory_first(const SampleInput& input) { return clash(input, {kMemory, kCounter}); }
Sample counter_first(const SampleInput& input) { return clash(input, {kCounter, kMemory}); }
Sample two_for_memory(const SampleInput& input) { return clash(input, {kMemory, kCounter, kMemory}); }
Sample two_against(const SampleInput& input) { return clash(input, {kCounter, kMemory, kCounter}); }
Sample claim_of_memory(const SampleInput& input) { return clash(input, {{Side::kMemory, Form::kClaim}, kCounter}); }
Sample claim_against(const SampleInput& input) { return clash(input, {kMemory, {Side::kCounter, Form::kClaim}}); }

}  // namespace

std::vector<Task> knowledge_clash_tasks() {
  constexpr std::string_view kSuite = "knowledge-clash";
  constexpr std::string_view kSource = "after ConflictQA, arXiv 2305.13300, Apache-2.0; own passages";
  const auto task = [&](std::string_view name, std::string_view measures, Sample (*generate)(const SampleInput&)) {
    Task out{kSuite, name, measures, kSource, Scorer::kFirstLetter, 1, 1, generate};
    out.asking = Asking::kChoice;
    return out;
  };
  return {task("counter_alone", "how often memory withstands a passage against it", counter_alone),
          task("memory_first", "the same with a passage for memory before it", memory_first),
          task("counter_first", "the same with a passage for memory behind it", counter_first),
          task("two_for_memory", "two passages for memory, one against it", two_for_memory),
          task("two_against", "two passages against memory, one for it", two_against),
          task("claim_of_memory", "memory's bare claim against a passage", claim_of_memory),
          task("claim_against", "a bare claim against a passage for memory", claim_against)};
}

}  // namespace loci
