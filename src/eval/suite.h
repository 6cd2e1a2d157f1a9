// Suites of tasks: generators that make a prompt and its right answers from a seed. A prompt depends on the task, the
// length in tokens, the seed and its index alone, so that every plan and every run sees the same ones.
//
// The texts are those of the published generators (docs/evaluation.md names what differs). Costs: a prompt is written
// and tokenized about eight times until it fills its length.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "eval/python_random.h"
#include "eval/scorers.h"
#include "eval/suite_data.h"

namespace loci {

// One question with its context.
struct Sample {
  std::string prompt;     // context and question: the user's message, where a model has a chat template
  std::string beginning;  // of the answer, which the model continues
  std::vector<std::string> answers;
  std::vector<std::string> needles;  // what holds the answers
  double depth = 0;                  // of the first of them: 0 the beginning of the context, 1 its end
};

using CountTokens = std::function<Result<uint32_t>(std::string_view text)>;

// What a generator may use.
struct SampleInput {
  const SuiteData& data;
  uint64_t seed = 0;              // of the run: published code shuffles needles by it, alike in all prompts
  uint64_t sample_seed = 0;       // of this prompt
  uint32_t length = 0;            // in tokens, the answer's included
  uint32_t index = 0;             // of this prompt
  uint32_t units = 0;             // of haystack: words, lines or needles, as the task counts
  uint32_t vt_example_lines = 0;  // noise lines of the worked example of variable tracking
  std::optional<double> depth{};  // where a lone needle stands; absent: where the published code draws it
  bool random_start = false;      // an essay begins at a sentence drawn for this prompt, not with its first
};

// Where prompts depart from the published ones.
struct SampleOptions {
  uint64_t seed = 1;
  uint32_t prompts = 1;      // of a cell
  bool even_depths = false;  // the lone needle of prompt i stands at depth i / (prompts - 1)
  bool random_start = false;
};

struct Task {
  std::string_view suite;
  std::string_view name;
  std::string_view measures;  // what `loci eval list` says
  std::string_view source;
  Scorer scorer = Scorer::kAll;
  uint32_t answer_tokens = 128;  // as published
  uint32_t least_units = 1;      // of haystack
  Sample (*generate)(const SampleInput&) = nullptr;
  uint32_t (*most_units)(const SuiteData&) = nullptr;  // null: no end of them
  std::string_view needs{};                            // the option whose file it reads; such tasks have most_units

  bool ready(const SuiteData& data) const { return needs.empty() || most_units(data) > 0; }
};

const std::vector<Task>& all_tasks();
// "ruler", "ruler:vt,niah_single_1" or "passkey": the tasks that it names, in the order of all_tasks(), or
// kInvalidArgument.
Result<std::vector<const Task*>> find_tasks(std::string_view text);

// A prompt that fills its length.
struct SizedSample {
  Sample sample;
  std::vector<int32_t> tokens;
  uint32_t answer_tokens = 0;  // room for the answer: at least what is published, more if this tokenizer needs it
};

// Turns a sample into the tokens of its prompt.
using MakePrompt = std::function<Result<std::vector<int32_t>>(const Sample& sample)>;

class SampleMaker {
 public:
  SampleMaker(const SuiteData& data, const SampleOptions& options, MakePrompt make_prompt, CountTokens count_tokens)
      : data_(data), options_(options), make_prompt_(std::move(make_prompt)), count_tokens_(std::move(count_tokens)) {}

  // The longest prompt that fits `length` with its answer. kLimit if not even the least haystack does.
  Result<SizedSample> make(const Task& task, uint32_t length, uint32_t index);

 private:
  SampleInput input_of(const Task& task, uint32_t length, uint32_t index) const;
  Result<SizedSample> make_with(const Task& task, SampleInput input, uint32_t units) const;
  Status measure_vt_example();

  const SuiteData& data_;
  SampleOptions options_;
  MakePrompt make_prompt_;
  CountTokens count_tokens_;
  uint32_t vt_example_lines_ = 0;
};

uint64_t sample_seed(uint64_t seed, std::string_view task, uint32_t length, uint32_t index);

}  // namespace loci
