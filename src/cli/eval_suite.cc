// loci eval --suite ...: plans side by side on the same prompts.
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "cli/eval_commands.h"
#include "cli/model_header.h"
#include "cli/model_options.h"
#include "cli/shipped_data.h"
#include "cli/table.h"
#include "cli/text_input.h"
#include "eval/jsonl_suite.h"
#include "eval/report.h"
#include "eval/runner.h"

namespace loci {
namespace {

constexpr uint32_t kContextSlack = 256;  // where a plan's answer and dense's go on side by side

constexpr const char* kRandomDepths = "random";
constexpr const char* kEvenDepths = "even";
constexpr const char* kAllKeys = "all";
constexpr const char* kHeldOutKeys = "held-out";

struct SuiteCommand {
  std::vector<std::string> suites;
  std::vector<std::string> lengths{"4k"};
  EvalRun run;
  ModelOptions model;
  std::string haystack;
  std::string depths = kRandomDepths;
  std::string keys = kAllKeys;
  std::string squad, hotpotqa;
  std::string jsonl_prompt{kJsonlPrompt};
  Scorer jsonl_scorer = Scorer::kWordF1;
  uint32_t jsonl_tokens = 64;
  std::string json_file, report_file, markdown_file;
  bool json = false;  // errors are for people: the results go to a file
};

Result<std::vector<uint32_t>> parse_lengths(const std::vector<std::string>& texts) {
  std::vector<uint32_t> out;
  for (const std::string& text : texts) {
    LOCI_TRY(const uint64_t length, parse_bytes(text));
    if (length < 64 || length > (uint64_t{1} << 30)) {
      return fail(ErrorCode::kInvalidArgument, "a length of {} tokens was asked for, but it must lie in 64..1G", text);
    }
    out.push_back(static_cast<uint32_t>(length));
  }
  return out;
}

constexpr std::string_view kJsonl = "jsonl:";

uint32_t longest_record(const SuiteData& data) {
  size_t longest = 1;
  for (const JsonlRecord& record : data.records) longest = std::max(longest, record.context.size());
  return static_cast<uint32_t>(std::min<size_t>(longest, UINT32_MAX - 1));
}

// The user's own questions as a task: one file.
struct JsonlTask {
  std::string name;  // the file's
  Task task;
};

Status read_jsonl(const SuiteCommand& command, SuiteData& data, JsonlTask& own, const Console& console) {
  for (const std::string& text : command.suites) {
    if (text.compare(0, kJsonl.size(), kJsonl) != 0) continue;
    if (!own.name.empty())
      return fail(ErrorCode::kInvalidArgument, "only one file of questions can be asked at a time");
    const std::filesystem::path path = text.substr(kJsonl.size());
    LOCI_TRY(const std::string lines, read_text(path.string(), console));
    Result<std::vector<JsonlRecord>> records = parse_jsonl(lines);
    if (!records.ok()) return fail(records.error().code, "'{}': {}", path.string(), records.error().message);
    if (command.run.samples.prompts > records->size()) {
      return fail(ErrorCode::kInvalidArgument, "'{}' has {} question(s): ask for as many with --prompts", path.string(),
                  records->size());
    }
    data.records = std::move(*records);
    data.record_prompt = command.jsonl_prompt;
    own.name = path.filename().string();
    own.task = {"jsonl",        own.name,      "", "", command.jsonl_scorer, command.jsonl_tokens, 1,
                jsonl_question, longest_record};
  }
  return {};
}

// A task that cannot be asked (its file is missing, the prompts are too short for it) is an error if it was named, and
// left out with a note if its suite was.
Status parse_suites(const std::vector<std::string>& texts, const SuiteData& data, const JsonlTask& own,
                    const Console& console, EvalRun& run) {
  const auto add = [](std::vector<const Task*>& list, const Task* task) {
    if (std::find(list.begin(), list.end(), task) == list.end()) list.push_back(task);
  };
  for (const std::string& text : texts) {
    if (text.compare(0, kJsonl.size(), kJsonl) == 0) {
      run.tasks.push_back(&own.task);
      run.named.push_back(&own.task);
      continue;
    }
    LOCI_TRY(const std::vector<const Task*> tasks, find_tasks(text));
    const bool named = text.find(':') != std::string::npos;
    for (const Task* task : tasks) {
      if (!task->ready(data) && named) {
        return fail(ErrorCode::kInvalidArgument, "task '{}' reads a file that does not ship with Loci: name it with {}",
                    task->name, task->needs);
      }
      if (!task->ready(data)) {
        console.note("task '{}' is left out: it needs {} FILE", task->name, task->needs);
        continue;
      }
      add(run.tasks, task);
      if (named) add(run.named, task);
    }
  }
  return {};
}

Result<std::string> shipped_text(const std::string& name, const Console& console) {
  LOCI_TRY(const std::filesystem::path path, shipped_file(name));
  return read_text(path.string(), console);
}

Result<SuiteTexts> read_texts(const SuiteCommand& command, const Console& console) {
  SuiteTexts texts;
  LOCI_TRY(texts.haystack, read_book(command.haystack, console));
  if (!command.haystack.empty()) texts.title = std::filesystem::path(command.haystack).stem().string();
  if (collapse_white_space(texts.haystack).empty()) {
    return fail(ErrorCode::kInvalidArgument, "'{}' holds no text to hide anything in", command.haystack);
  }
  texts.held_out_keys = command.keys == kHeldOutKeys;
  LOCI_TRY(texts.adjectives, shipped_text("words/adjectives.txt", console));
  LOCI_TRY(texts.nouns, shipped_text("words/nouns.txt", console));
  LOCI_TRY(texts.verbs, shipped_text("words/verbs.txt", console));
  return texts;
}

Result<QuestionSet> read_questions(const std::string& path, Result<QuestionSet> (*parse)(std::string_view),
                                   const Console& console) {
  if (path.empty()) return QuestionSet{};
  LOCI_TRY(const std::string text, read_text(path, console));
  Result<QuestionSet> set = parse(text);
  if (!set.ok()) return fail(set.error().code, "'{}': {}", path, set.error().message);
  return set;
}

// What results must agree in to stand in one file. Plans, tasks, lengths and prompts may be added later.
nlohmann::ordered_json settings_json(const SuiteCommand& command, const std::filesystem::path& model) {
  // Where the needles stand may depend on how many prompts there are.
  const bool even = command.depths == kEvenDepths;
  return {{"loci", LOCI_VERSION},
          {"model", model.filename().string()},
          {"seed", command.run.samples.seed},
          {"depths", even ? fmt::format("even, {} prompts", command.run.samples.prompts) : command.depths},
          {"random_start", command.run.samples.random_start},
          {"keys", command.keys},
          {"jsonl", fmt::format("{}, {}", to_string(command.jsonl_scorer), command.jsonl_prompt)},
          {"haystack",
           command.haystack.empty() ? "moby-dick.txt" : std::filesystem::path(command.haystack).filename().string()},
          {"raw", command.run.raw},
          {"chunk", command.model.chunk},
          {"activations", command.model.activations},
          {"isa", command.model.isa},
          {"processor", cpu_info().model},
          {"threads", command.model.threads > 0 ? command.model.threads : cpu_info().cores}};
}

std::string length_text(uint32_t length) {
  return length % 1024 == 0 ? fmt::format("{}K", length / 1024) : fmt::format("{}", length);
}

std::string percent(const Interval& interval) {
  return fmt::format("{:.1f}  {:>5.1f}-{:<5.1f}", interval.mean * 100, interval.low * 100, interval.high * 100);
}

void print_cells(const Console& console, const std::vector<Cell>& cells) {
  TextTable table({{"plan"},
                   {"task"},
                   {"length", true},
                   {"prompts", true},
                   {"score %  95% interval", true},
                   {"KL", true},
                   {"top-1 %", true},
                   {"cache", true},
                   {"kept", true},
                   {"prefill tok/s", true},
                   {"decode tok/s", true}});
  for (const Cell& cell : cells) {
    table.add({cell.plan, cell.task, length_text(cell.length), fmt::format("{}", cell.prompts), percent(cell.score),
               cell.kl ? fmt::format("{:.4f}", cell.kl->mean) : "-",
               cell.agreement ? fmt::format("{:.1f}", cell.agreement->mean * 100) : "-",
               format_bytes(static_cast<uint64_t>(cell.kv_bytes)), fmt::format("{:.0f}", cell.kept_tokens),
               format_number(cell.prefill_tok_s), format_number(cell.decode_tok_s)});
  }
  console.print("{}", table.text());
}

Result<ResultFile> open_results(const SuiteCommand& command, const std::filesystem::path& model) {
  if (command.json_file.empty()) return ResultFile();
  return ResultFile::open(command.json_file, settings_json(command, model));
}

Status write_reports(const SuiteCommand& command, const nlohmann::ordered_json& settings,
                     const std::vector<PromptResult>& results) {
  if (!command.report_file.empty()) LOCI_CHECK(write_whole(command.report_file, report_page(settings, results)));
  if (command.markdown_file.empty()) return {};
  return write_whole(command.markdown_file, report_markdown(settings, results));
}

Result<int> evaluate(const Console& console, const SuiteCommand& command) {
  EvalRun run = command.run;
  LOCI_TRY(run.lengths, parse_lengths(command.lengths));
  run.samples.even_depths = command.depths == kEvenDepths;
  LOCI_TRY(const SuiteTexts texts, read_texts(command, console));
  LOCI_TRY(QuestionSet squad, read_questions(command.squad, parse_squad, console));
  LOCI_TRY(QuestionSet hotpotqa, read_questions(command.hotpotqa, parse_hotpotqa, console));
  SuiteData data(texts, std::move(squad), std::move(hotpotqa));
  JsonlTask own;
  LOCI_CHECK(read_jsonl(command, data, own, console));
  LOCI_CHECK(parse_suites(command.suites, data, own, console, run));
  LOCI_TRY(const std::filesystem::path model, find_model(command.model.model, console));
  LOCI_TRY(ResultFile file, open_results(command, model));
  ReferenceStore references;
  if (!command.json_file.empty()) references = ReferenceStore(command.json_file + ".dense");

  ProgressBar bar("evaluating", ProgressUnit::kTokens, console.err);
  const uint32_t longest = *std::max_element(run.lengths.begin(), run.lengths.end());
  // A context is read once, each question then goes to a fork beside it.
  const bool forks = std::any_of(run.tasks.begin(), run.tasks.end(),
                                 [](const Task* task) { return task->asking == Asking::kRequests; });
  EvalHooks hooks;
  hooks.cancelled = console.cancel_flag();
  hooks.on_progress = [&](uint64_t done, uint64_t total) { bar.update(done, total); };
  hooks.on_left_out = [&](const std::string& why) {
    bar.clear();
    console.note("a task is left out at a length: {}", why);
  };
  hooks.load = [&](const std::string& plan) -> Result<Engine> {
    bar.clear();
    EngineOptions options = engine_options(command.model);
    options.attention = plan;
    options.prefix_cache = false;  // a plan's time is to be its own
    options.batch = forks ? 2 : 1;
    LOCI_TRY(const ModelHeader header, ModelHeader::open(model));
    options.context = std::min(longest + kContextSlack, header.trained_context());
    return load_engine(model, options, console);
  };
  const Status done = run_evaluation(run, data, hooks, file, references);
  bar.clear();
  if (!done.ok()) {
    if (!command.json_file.empty() && done.error().code == ErrorCode::kCancelled) {
      console.note("the same command goes on from '{}'", command.json_file);
    }
    return done.error();
  }
  std::vector<std::string> names;
  for (const Task* task : run.tasks) names.emplace_back(task->name);
  const std::vector<PromptResult> results = file.sorted(run.plans, names);
  LOCI_CHECK(file.finish(results));
  references.remove();
  print_cells(console, summarize(results));
  LOCI_CHECK(write_reports(command, settings_json(command, model), results));
  return kExitOk;
}

// Where prompts depart from the published ones.
void add_sample_options(const Command& command, SuiteCommand& options) {
  command
      .add_option("--depths", options.depths,
                  "Where a lone needle stands: random, as published, or even, from the first sentence of the\n"
                  "first prompt to the last of the last")
      .shows_default()
      .one_of({kRandomDepths, kEvenDepths})
      .type("HOW");
  command.add_flag("--random-start", options.run.samples.random_start,
                   "Begin an essay at a random sentence of the haystack, not with its first");
  command
      .add_option("--keys", options.keys,
                  "Words that keys are made of: all, as published, or held-out, the fifth of them that the model\n"
                  "'needle' has not seen in training")
      .shows_default()
      .one_of({kAllKeys, kHeldOutKeys})
      .type("WHICH");
}

void add_jsonl_options(const Command& command, SuiteCommand& options) {
  constexpr const char* kGroup = "Questions of jsonl:FILE";
  static const std::map<std::string, Scorer> scorers{{"f1", Scorer::kWordF1},
                                                     {"rouge-l", Scorer::kRougeL},
                                                     {"edit-similarity", Scorer::kEditSimilarity},
                                                     {"all", Scorer::kAll},
                                                     {"any", Scorer::kPart}};
  std::vector<std::string> names;
  for (const auto& [name, scorer] : scorers) names.push_back(name);
  command.add_option("--jsonl-prompt", options.jsonl_prompt, "The prompt; {context} and {input} are filled in")
      .default_text("{context}, an empty line, {input}")
      .type("TEXT")
      .group(kGroup);
  command
      .add_option_function(
          "--jsonl-score", [&options](const std::string& name) { options.jsonl_scorer = scorers.at(name); },
          "f1, rouge-l, edit-similarity (of code); all, any: the answers that occur")
      .default_text("f1")
      .one_of(names)
      .type("HOW")
      .group(kGroup);
  command.add_option("--jsonl-tokens", options.jsonl_tokens, "Room for an answer")
      .shows_default()
      .range(1u, 65536u)
      .type("N")
      .group(kGroup);
}

void add_suite_options(const Command& command, SuiteCommand& options) {
  command
      .add_option(
          "--suite", options.suites,
          "What is asked: a suite of 'loci eval list'; ruler:vt,niah_single_2 names tasks; jsonl:FILE asks the\n"
          "questions of a file, a JSON object a line with context, input and answers, as LongBench has them")
      .type("SUITE[:TASK,...]");
  command
      .add_option("-m,--model", options.model.model,
                  "Model: a name ('loci pull --list'), a GGUF file or a Hugging Face folder")
      .type("MODEL");
  command
      .add_option("--plans", options.run.plans,
                  "Attention plans, one after the other; dense is what they are compared with")
      .default_text("dense")
      .type("PLAN ...");
  command.add_option("--lengths", options.lengths, "Tokens of a prompt and its answer: 4k,16k")
      .separator(',')
      .default_text("4k")
      .type("N,...");
  command.add_option("--prompts", options.run.samples.prompts, "Prompts of each task and length")
      .shows_default()
      .range(1u, 1u << 20)
      .type("N");
  command.add_option("--seed", options.run.samples.seed, "Chooses the prompts").shows_default().type("S");
  command.add_option("--haystack", options.haystack, "Text to hide facts in; default: Moby-Dick, which ships with Loci")
      .type("FILE");
  command.add_option("--squad", options.squad, "SQuAD 2.0, dev-v2.0.json, for ruler:qa_1").type("FILE");
  command.add_option("--hotpotqa", options.hotpotqa, "HotpotQA, hotpot_dev_distractor_v1.json, for ruler:qa_2")
      .type("FILE");
  add_jsonl_options(command, options);
  add_sample_options(command, options);
  command.add_flag("--raw", options.run.raw, "No chat template, though the model may have one");
  command.add_option("--json", options.json_file, "Keep every prompt's result here; an interrupted run goes on from it")
      .type("OUT.json");
  command
      .add_option("--report", options.report_file,
                  "Write a page to look at: curves, needles by depth, cost against quality, every prompt")
      .type("OUT.html");
  command.add_option("--markdown", options.markdown_file, "Write the table of results as Markdown").type("OUT.md");
}

void add_engine_options(const Command& command, ModelOptions& options) {
  constexpr const char* kGroup = "Memory and speed";
  command.add_option("--chunk", options.chunk, "Prompt tokens per forward pass")
      .shows_default()
      .range(1u, 65536u)
      .type("N")
      .group(kGroup);
  command.add_option("--threads", options.threads, "Worker threads; 0: one for each core this process may use")
      .shows_default()
      .range(0, 1024)
      .type("N")
      .group(kGroup);
  command.add_option("--isa", options.isa, "Instruction set of the kernels: auto, scalar, avx2, avx512, amx")
      .shows_default()
      .one_of({"auto", "scalar", "avx2", "avx512", "amx"})
      .type("ISA")
      .group(kGroup);
  command.add_option("--activations", options.activations, "int16, int8 or f32, as for 'loci run'")
      .shows_default()
      .one_of({"int16", "int8", "f32"})
      .type("TYPE")
      .group(kGroup);
  add_bytes_option(command, "--memory-limit", options.memory_limit_bytes,
                   "Refuse to use more memory than this (4G, 512M)")
      .group(kGroup);
}

}  // namespace

void add_eval(const Command& app, Choice& choice) {
  auto options = std::make_shared<SuiteCommand>();
  options->run.plans = {"dense"};
  const Command eval = app.add_command(
      "eval",
      "Measure the quality of a model and its plans: every plan answers the same prompts, made from a seed.\n"
      "For each plan, task and length: the score in percent with its 95% interval, how far the plan's\n"
      "next-token distribution is from dense's over dense's own answer (KL, nats a token) and how often both\n"
      "hold the same token most likely (top-1), cache bytes, entries kept a KV head, and speed. KL and top-1\n"
      "need dense among the plans.",
      "  loci eval --suite ruler --lengths 4k,16k --plans dense store=kv4 -m needle --json out.json\n"
      "  loci eval --suite ruler:niah_single_2,vt passkey --lengths 1k --prompts 8 -m needle --report out.html\n"
      "  loci eval perplexity -m smollm2 -f book.txt --window 2048\n");
  eval.works_alone();
  add_suite_options(eval, *options);
  add_engine_options(eval, options->model);
  add_eval_list(eval, choice);
  add_eval_compare(eval, choice);
  add_eval_pareto(eval, choice);
  add_eval_perplexity(eval, choice);
  eval.when_chosen([options, &choice] {
    if (options->suites.empty()) throw UsageError("--suite, or a command, is required");
    if (options->model.model.empty()) throw UsageError("--model is required");
    choice.json = false;
    choice.action = [options](const Console& console) { return evaluate(console, *options); };
  });
}

}  // namespace loci
