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
#include "eval/runner.h"

namespace loci {
namespace {

constexpr uint32_t kContextSlack = 256;  // where a plan's answer and dense's go on side by side

struct SuiteCommand {
  std::vector<std::string> suites;
  std::vector<std::string> lengths{"4k"};
  EvalRun run;
  ModelOptions model;
  std::string haystack;
  std::string json_file;
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

Result<std::vector<const Task*>> parse_suites(const std::vector<std::string>& texts) {
  std::vector<const Task*> out;
  for (const std::string& text : texts) {
    LOCI_TRY(const std::vector<const Task*> tasks, find_tasks(text));
    for (const Task* task : tasks) {
      if (std::find(out.begin(), out.end(), task) == out.end()) out.push_back(task);
    }
  }
  return out;
}

Result<std::string> shipped_text(const std::string& name, const Console& console) {
  LOCI_TRY(const std::filesystem::path path, shipped_file(name));
  return read_text(path.string(), console);
}

Result<SuiteTexts> read_texts(const std::string& haystack, const Console& console) {
  SuiteTexts texts;
  LOCI_TRY(texts.haystack, read_book(haystack, console));
  if (collapse_white_space(texts.haystack).empty()) {
    return fail(ErrorCode::kInvalidArgument, "'{}' holds no text to hide anything in", haystack);
  }
  LOCI_TRY(texts.adjectives, shipped_text("words/adjectives.txt", console));
  LOCI_TRY(texts.nouns, shipped_text("words/nouns.txt", console));
  LOCI_TRY(texts.verbs, shipped_text("words/verbs.txt", console));
  return texts;
}

// What results must agree in to stand in one file. Plans, tasks, lengths and prompts may be added later.
nlohmann::ordered_json settings_json(const SuiteCommand& command, const std::filesystem::path& model) {
  return {{"loci", LOCI_VERSION},
          {"model", model.filename().string()},
          {"seed", command.run.seed},
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
  Table table({{"plan"},
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

Result<int> evaluate(const Console& console, const SuiteCommand& command) {
  EvalRun run = command.run;
  LOCI_TRY(run.tasks, parse_suites(command.suites));
  LOCI_TRY(run.lengths, parse_lengths(command.lengths));
  LOCI_TRY(const SuiteTexts texts, read_texts(command.haystack, console));
  const SuiteData data(texts);
  LOCI_TRY(const std::filesystem::path model, find_model(command.model.model, console));
  LOCI_TRY(ResultFile file, open_results(command, model));
  ReferenceStore references;
  if (!command.json_file.empty()) references = ReferenceStore(command.json_file + ".dense");

  ProgressBar bar("evaluating", ProgressUnit::kTokens, console.err);
  const uint32_t longest = *std::max_element(run.lengths.begin(), run.lengths.end());
  EvalHooks hooks;
  hooks.cancelled = console.cancel_flag();
  hooks.on_progress = [&](uint64_t done, uint64_t total) { bar.update(done, total); };
  hooks.load = [&](const std::string& plan) -> Result<Engine> {
    bar.clear();
    EngineOptions options = engine_options(command.model);
    options.attention = plan;
    options.prefix_cache = false;  // a plan's time is to be its own
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
  return kExitOk;
}

void add_suite_options(CLI::App& command, SuiteCommand& options) {
  command
      .add_option("--suite", options.suites, "What is asked: ruler, passkey, kv; ruler:vt,niah_single_2 names tasks")
      ->type_name("SUITE[:TASK,...]");
  command
      .add_option("-m,--model", options.model.model,
                  "Model: a name ('loci pull --list'), a GGUF file or a Hugging Face folder")
      ->type_name("MODEL");
  command
      .add_option("--plans", options.run.plans,
                  "Attention plans, one after the other; dense is what they are compared with")
      ->default_str("dense")
      ->type_name("PLAN ...");
  command.add_option("--lengths", options.lengths, "Tokens of a prompt and its answer: 4k,16k")
      ->delimiter(',')
      ->default_str("4k")
      ->type_name("N,...");
  command.add_option("--prompts", options.run.prompts, "Prompts of each task and length")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1u << 20))
      ->type_name("N");
  command.add_option("--seed", options.run.seed, "Chooses the prompts")->capture_default_str()->type_name("S");
  command
      .add_option("--haystack", options.haystack, "Text to hide facts in; default: Moby-Dick, which ships with Loci")
      ->type_name("FILE");
  command.add_flag("--raw", options.run.raw, "No chat template, though the model may have one");
  command
      .add_option("--json", options.json_file, "Keep every prompt's result here; an interrupted run goes on from it")
      ->type_name("OUT.json");
}

void add_engine_options(CLI::App& command, ModelOptions& options) {
  constexpr const char* kGroup = "Memory and speed";
  command.add_option("--chunk", options.chunk, "Prompt tokens per forward pass")
      ->capture_default_str()
      ->check(CLI::Range(1u, 65536u))
      ->type_name("N")
      ->group(kGroup);
  command.add_option("--threads", options.threads, "Worker threads; 0: one for each core this process may use")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->group(kGroup);
  command.add_option("--isa", options.isa, "Instruction set of the kernels: auto, scalar, avx2, avx512")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "scalar", "avx2", "avx512"}))
      ->type_name("ISA")
      ->group(kGroup);
  command.add_option("--activations", options.activations, "int16, int8 or f32, as for 'loci run'")
      ->capture_default_str()
      ->check(CLI::IsMember({"int16", "int8", "f32"}))
      ->type_name("TYPE")
      ->group(kGroup);
  add_bytes_option(command, "--memory-limit", options.memory_limit_bytes,
                   "Refuse to use more memory than this (4G, 512M)")
      ->group(kGroup);
}

}  // namespace

void add_eval(CLI::App& app, Choice& choice) {
  auto options = std::make_shared<SuiteCommand>();
  options->run.plans = {"dense"};
  CLI::App* eval = add_command(
      app, "eval",
      "Measure the quality of a model and its plans: every plan answers the same prompts, made from a seed.\n"
      "For each plan, task and length: the score in percent with its 95% interval, how far the plan's\n"
      "next-token distribution is from dense's over dense's own answer (KL, nats a token) and how often both\n"
      "hold the same token most likely (top-1), cache bytes, entries kept a KV head, and speed. KL and top-1\n"
      "need dense among the plans.",
      "  loci eval --suite ruler --lengths 4k,16k --plans dense store=kv4 -m needle --json out.json\n"
      "  loci eval --suite ruler:niah_single_2,vt passkey --lengths 1k --prompts 8 -m needle\n"
      "  loci eval perplexity -m smollm2 -f book.txt --window 2048\n");
  eval->require_subcommand(0, 1);
  add_suite_options(*eval, *options);
  add_engine_options(*eval, options->model);
  add_eval_perplexity(*eval, choice);
  eval->callback([eval, options, &choice] {
    if (!eval->get_subcommands().empty()) return;
    if (options->suites.empty()) throw CLI::RequiredError("--suite, or a command,");
    if (options->model.model.empty()) throw CLI::RequiredError("--model");
    choice.json = false;
    choice.action = [options](const Console& console) { return evaluate(console, *options); };
  });
}

}  // namespace loci
