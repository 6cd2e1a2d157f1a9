// Suites of tasks: generators that make a prompt and its right answers from a seed. A prompt depends on the task, the
// length in tokens, the seed and its index alone, so that every plan and every run sees the same ones.
//
// The texts are those of the published generators (docs/evaluation.md names what differs). Costs: a prompt is written
// and tokenized about eight times until it fills its length.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "eval/python_random.h"
#include "eval/scorers.h"
#include "eval/suite_data.h"
#include "loci/types.h"

namespace loci {

// How a task is put to the model.
enum class Asking {
  kAnswer,    // the model writes an answer
  kChoice,    // of given answers the likeliest counts: their first tokens' logits are compared, nothing is written
  kRecall,    // tokens in, the likeliest token behind each queried key out: no text at all
  kTurns,     // several questions one after the other; in the history stand the right answers, not the model's
  kRequests,  // several questions, each put to a fork of the context, which was read alone
};

// A question about a context that other questions are asked about, too.
struct Turn {
  std::string question;
  std::string beginning;             // of its answer
  std::vector<std::string> answers;  // in the history they stand with blanks between them
};

// Pairs of a key and a value in a sequence of tokens, and keys that ask for their values.
struct Recall {
  struct Query {
    uint32_t at = 0;  // of the key that asks: the token behind it is to be foreseen
    TokenId value = 0;
  };
  std::vector<TokenId> tokens;
  uint32_t context = 0;        // tokens that are read as the prompt; the rest follows one by one, as an answer does
  std::vector<Query> queries;  // by place
};

// One question with its context.
struct Sample {
  std::string prompt;     // context and question: the user's message, where a model has a chat template
  std::string beginning;  // of the answer, which the model continues
  std::vector<std::string> answers;
  std::vector<std::string> needles;  // what holds the answers
  double depth = 0;                  // of the first of them: 0 the beginning of the context, 1 its end

  std::vector<std::string> choices{};  // kChoice: the answers to choose from, the blank before them included
  std::optional<size_t> abstention{};  // kChoice: one that says nothing; the likeliest other one is scored
  std::vector<Turn> turns{};           // kTurns, kRequests: all questions; the prompt is the context alone
  Recall recall{};                     // kRecall: takes the prompt's place
};

// All that a model reads, right answers to all but the last of several questions included.
std::string whole_text(const Sample& sample);

using CountTokens = std::function<Result<uint32_t>(std::string_view text)>;

// What a generator may use.
struct SampleInput {
  const SuiteData& data;
  uint64_t seed = 0;                      // of the run: published code shuffles needles by it, alike in all prompts
  uint64_t sample_seed = 0;               // of this prompt
  uint32_t length = 0;                    // in tokens, the answer's included
  uint32_t index = 0;                     // of this prompt
  uint32_t units = 0;                     // of haystack: words, lines or needles, as the task counts
  uint32_t vt_example_lines = 0;          // noise lines of the worked example of variable tracking
  std::optional<double> depth{};          // where a lone needle stands; absent: where the published code draws it
  bool random_start = false;              // an essay begins at a sentence drawn for this prompt, not with its first
  std::span<const TokenId> vocabulary{};  // plain words among the tokens: what tasks of the kind kRecall are made of
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
  Asking asking = Asking::kAnswer;
  bool one_line = true;  // a model without a chat template stops at the end of a line

  bool ready(const SuiteData& data) const { return needs.empty() || most_units(data) > 0; }
};

const std::vector<Task>& all_tasks();
// "ruler", "ruler:vt,niah_single_1" or "passkey": the tasks that it names, in the order of all_tasks(), or
// kInvalidArgument.
Result<std::vector<const Task*>> find_tasks(std::string_view text);

// A prompt that fills its length.
struct SizedSample {
  Sample sample;
  std::vector<TokenId> tokens;
  uint32_t answer_tokens = 0;  // room for the answer: at least what is published, more if this tokenizer needs it
};

// Turns a sample into all tokens that are read for it: the prompt, all turns of a conversation.
using MakePrompt = std::function<Result<std::vector<TokenId>>(const Sample& sample)>;

class SampleMaker {
 public:
  SampleMaker(const SuiteData& data, const SampleOptions& options, MakePrompt make_prompt, CountTokens count_tokens,
              std::vector<TokenId> vocabulary = {})
      : data_(data),
        options_(options),
        make_prompt_(std::move(make_prompt)),
        count_tokens_(std::move(count_tokens)),
        vocabulary_(std::move(vocabulary)) {}

  // The longest prompt that fits `length` with its answer. kLimit if not even the least haystack does.
  Result<SizedSample> make(const Task& task, uint32_t length, uint32_t index);

 private:
  SampleInput input_of(const Task& task, uint32_t length, uint32_t index) const;
  Result<SizedSample> make_with(const Task& task, SampleInput input, uint32_t units) const;
  Result<uint32_t> answer_room(const Task& task, const Sample& sample) const;
  Status measure_vt_example();

  const SuiteData& data_;
  SampleOptions options_;
  MakePrompt make_prompt_;
  CountTokens count_tokens_;
  std::vector<TokenId> vocabulary_;
  uint32_t vt_example_lines_ = 0;
};

uint64_t sample_seed(uint64_t seed, std::string_view task, uint32_t length, uint32_t index);
// In [0, 1): spreads the prompts of a cell evenly over the context, however many there are.
double spread_depth(uint32_t index);

}  // namespace loci
