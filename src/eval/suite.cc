#include "eval/suite.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/spelling.h"
#include "eval/retrieval.h"
#include "eval/ruler.h"
#include "eval/segment_order.h"
#include "eval/suites.h"

namespace loci {
namespace {

constexpr std::string_view kRuler = "ruler";
constexpr std::string_view kRulerSource = "RULER, arXiv 2404.06654, Apache-2.0";

constexpr uint32_t kExampleTokens = 500;  // of the question of variable tracking's worked example, at most
constexpr uint32_t kVtAnswerTokens = 30;
constexpr uint32_t kLeastExampleLines = 5;
constexpr uint32_t kMostUnits = 1U << 24;
constexpr uint32_t kFirstUnits = 64;  // more than the least: what shows how long a unit is
constexpr int kGuesses = 16;

std::string names_of(std::string_view suite) {
  std::vector<std::string_view> names;
  for (const Task& task : all_tasks()) {
    if (task.suite == suite) names.push_back(task.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<std::string> suite_names() {
  std::vector<std::string> names;
  for (const Task& task : all_tasks()) {
    if (names.empty() || names.back() != task.suite) names.emplace_back(task.suite);
  }
  return names;
}

// RULER and what is as old, or older.
std::vector<Task> retrieval_tasks() {
  return {
      {kRuler, "niah_single_1", "one number in noise", kRulerSource, Scorer::kAll, 128, 1, niah_single_1},
      {kRuler, "niah_single_2", "one number in an essay", kRulerSource, Scorer::kAll, 128, 1, niah_single_2},
      {kRuler, "niah_single_3", "one uuid in an essay", kRulerSource, Scorer::kAll, 128, 1, niah_single_3},
      {kRuler, "niah_multikey_1", "one number of four in an essay", kRulerSource, Scorer::kAll, 128, 1,
       niah_multikey_1},
      {kRuler, "niah_multikey_2", "one number among nothing but such", kRulerSource, Scorer::kAll, 128, 1,
       niah_multikey_2},
      {kRuler, "niah_multikey_3", "one uuid among nothing but such", kRulerSource, Scorer::kAll, 128, 1,
       niah_multikey_3},
      {kRuler, "niah_multivalue", "four numbers of one key", kRulerSource, Scorer::kAll, 128, 1, niah_multivalue},
      {kRuler, "niah_multiquery", "the numbers of four keys", kRulerSource, Scorer::kAll, 128, 1, niah_multiquery},
      {kRuler, "vt", "a chain of assignments, four hops", kRulerSource, Scorer::kAll, kVtAnswerTokens, 5,
       variable_tracking},
      {kRuler, "cwe", "the ten most common words of a list", kRulerSource, Scorer::kAll, 120, 11, common_words,
       [](const SuiteData& data) { return static_cast<uint32_t>(data.words.size()); }},
      {kRuler, "fwe", "the three most frequent coded words", kRulerSource, Scorer::kAll, 50, 50, frequent_words},
      {kRuler, "qa_1", "questions of SQuAD among documents", "RULER; SQuAD 2.0 is CC BY-SA 4.0", Scorer::kPart, 32, 1,
       squad_question, [](const SuiteData& data) { return static_cast<uint32_t>(data.squad.documents.size()); },
       "--squad"},
      {kRuler, "qa_2", "questions of HotpotQA among documents", "RULER; HotpotQA is CC BY-SA 4.0", Scorer::kPart, 32, 1,
       hotpotqa_question, [](const SuiteData& data) { return static_cast<uint32_t>(data.hotpotqa.documents.size()); },
       "--hotpotqa"},
      {"passkey", "passkey", "a number in noise, told twice", "landmark attention, arXiv 2305.16300, Apache-2.0",
       Scorer::kFirstInteger, 10, 1, passkey},
      {"kv", "kv_retrieval", "the value of a key in a JSON object of uuids", "InfiniteBench, arXiv 2402.13718, MIT",
       Scorer::kContains, 50, 1, key_value},
      {"order", "segment_order", "which of two segments came first", "after SORT, arXiv 2410.08133; own wording",
       Scorer::kFirstLetter, 4, kLeastExcerpt, segment_order},
  };
}

}  // namespace

const std::vector<Task>& all_tasks() {
  static const std::vector<Task> tasks = [] {
    std::vector<Task> out;
    for (std::vector<Task> (*suite)() :
         {retrieval_tasks, infinitebench_tasks, needlebench_tasks, pi_llm_tasks, mqar_tasks, sort_tasks, scbench_tasks,
          counterfactual_tasks, knowledge_clash_tasks, icl_regression_tasks}) {
      for (Task& task : suite()) out.push_back(std::move(task));
    }
    return out;
  }();
  return tasks;
}

Result<std::vector<const Task*>> find_tasks(std::string_view text) {
  const size_t colon = std::min(text.find(':'), text.size());
  const std::string_view suite = text.substr(0, colon);
  std::vector<const Task*> out;
  for (const Task& task : all_tasks()) {
    if (task.suite == suite) out.push_back(&task);
  }
  if (out.empty()) {
    return fail(ErrorCode::kInvalidArgument, "there is no suite '{}'{}: known are {}", suite,
                did_you_mean(std::string(suite), suite_names()), fmt::join(suite_names(), ", "));
  }
  if (colon == text.size()) return out;
  std::vector<std::string_view> wanted;
  for (std::string_view rest = text.substr(colon + 1);;) {
    const size_t comma = std::min(rest.find(','), rest.size());
    wanted.push_back(rest.substr(0, comma));
    if (comma == rest.size()) break;
    rest.remove_prefix(comma + 1);
  }
  for (const std::string_view name : wanted) {
    if (std::any_of(out.begin(), out.end(), [&](const Task* task) { return task->name == name; })) continue;
    return fail(ErrorCode::kInvalidArgument, "suite '{}' has no task '{}': it has {}", suite, name, names_of(suite));
  }
  out.erase(std::remove_if(
                out.begin(), out.end(),
                [&](const Task* task) { return std::find(wanted.begin(), wanted.end(), task->name) == wanted.end(); }),
            out.end());
  return out;
}

uint64_t sample_seed(uint64_t seed, std::string_view task, uint32_t length, uint32_t index) {
  uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
  const auto mix = [&hash](uint64_t value) { hash = (hash ^ value) * 0x100000001b3ULL; };
  for (const char c : task) mix(static_cast<unsigned char>(c));
  mix(length);
  mix(index);
  hash ^= hash >> 31;
  hash *= 0x94d049bb133111ebULL;
  return hash ^ (hash >> 29);
}

std::string whole_text(const Sample& sample) {
  std::string out = sample.prompt + sample.beginning;
  for (size_t i = 0; i < sample.turns.size(); ++i) {
    const Turn& turn = sample.turns[i];
    out += "\n\n" + turn.question + turn.beginning;
    if (i + 1 < sample.turns.size()) out += fmt::format("{}", fmt::join(turn.answers, " "));
  }
  return out;
}

double spread_depth(uint32_t index) {
  constexpr double kGoldenRatio = 0.6180339887498949;
  double whole = 0;
  return std::modf((index + 0.5) * kGoldenRatio, &whole);
}

// The largest number of lines that keeps the example's question within its tokens.
Status SampleMaker::measure_vt_example() {
  for (uint32_t lines = kLeastExampleLines;; ++lines) {
    LOCI_TRY(const uint32_t tokens, count_tokens_(variable_tracking_example(options_.seed, lines).question));
    if (tokens > kExampleTokens && vt_example_lines_ > 0) return {};
    vt_example_lines_ = lines;
    if (tokens > kExampleTokens) return {};
  }
}

SampleInput SampleMaker::input_of(const Task& task, uint32_t length, uint32_t index) const {
  SampleInput input{.data = data_,
                    .seed = options_.seed,
                    .sample_seed = sample_seed(options_.seed, task.name, length, index),
                    .length = length,
                    .index = index,
                    .units = 0,
                    .vt_example_lines = vt_example_lines_,
                    .random_start = options_.random_start,
                    .vocabulary = vocabulary_};
  if (options_.even_depths) input.depth = options_.prompts < 2 ? 0.5 : index / (options_.prompts - 1.0);
  return input;
}

Result<SizedSample> SampleMaker::make_with(const Task& task, SampleInput input, uint32_t units) const {
  input.units = units;
  SizedSample out;
  out.sample = task.generate(input);
  LOCI_TRY(out.tokens, make_prompt_(out.sample));
  LOCI_TRY(out.answer_tokens, answer_room(task, out.sample));
  return out;
}

// At least what is published, more if this tokenizer needs it.
Result<uint32_t> SampleMaker::answer_room(const Task& task, const Sample& sample) const {
  if (task.asking == Asking::kRecall) return 1U;
  uint32_t room = task.answer_tokens;
  const auto widen = [&](const std::vector<std::string>& answers) -> Status {
    LOCI_TRY(const uint32_t tokens, count_tokens_(fmt::format(" {}", fmt::join(answers, " "))));
    // Commas, an "and", an end: what a model may add to the bare answers.
    room = std::max(room, tokens + 4 * static_cast<uint32_t>(answers.size()));
    return {};
  };
  if (sample.turns.empty()) LOCI_CHECK(widen(sample.answers));
  for (const Turn& turn : sample.turns) LOCI_CHECK(widen(turn.answers));
  return room;
}

Result<SizedSample> SampleMaker::make(const Task& task, uint32_t length, uint32_t index) {
  if (vt_example_lines_ == 0 && task.generate == variable_tracking) LOCI_CHECK(measure_vt_example());
  const SampleInput input = input_of(task, length, index);
  const auto fits = [&](const SizedSample& sized) { return sized.tokens.size() + sized.answer_tokens <= length; };
  LOCI_TRY(SizedSample best, make_with(task, input, task.least_units));
  if (!fits(best)) {
    return fail(ErrorCode::kLimit, "{} tokens are too few for task '{}', whose shortest prompt and answer take {}",
                length, task.name, best.tokens.size() + best.answer_tokens);
  }
  // `low` fits, `high` does not. The next try is where a straight line through the shortest prompt and the last one
  // meets the length; should that not come to an end, halves do.
  const size_t base = best.tokens.size();
  const uint32_t end = (task.most_units != nullptr ? task.most_units(data_) : kMostUnits) + 1;
  uint32_t low = task.least_units;
  uint32_t high = end;
  double tokens_per_unit = 0;
  for (int tries = 0; high - low > 1; ++tries) {
    const double room = static_cast<double>(length) - static_cast<double>(best.tokens.size() + best.answer_tokens);
    uint64_t at = uint64_t{low} + kFirstUnits;
    if (tries >= kGuesses) {
      at = high == end ? uint64_t{low} * 2 : low + (high - low) / 2;
    } else if (tokens_per_unit > 0) {
      at = low + static_cast<uint64_t>(std::min<double>(room / tokens_per_unit, kMostUnits));
    }
    const auto units = static_cast<uint32_t>(std::clamp<uint64_t>(at, low + 1, high - 1));
    LOCI_TRY(SizedSample sized, make_with(task, input, units));
    if (sized.tokens.size() > base) {
      tokens_per_unit = static_cast<double>(sized.tokens.size() - base) / (units - task.least_units);
    }
    const bool fit = fits(sized);
    (fit ? low : high) = units;
    if (fit) best = std::move(sized);
  }
  return best;
}

}  // namespace loci
