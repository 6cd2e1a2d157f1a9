// loci demo: the main job on a model that ships with Loci. A fact is hidden in a novel; the model reads the novel and
// finds it, once with a 16-bit cache and once with a 4-bit one.
#include <memory>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/haystack.h"
#include "cli/model_header.h"
#include "cli/model_options.h"
#include "cli/shipped_data.h"
#include "cli/table.h"
#include "cli/terminal_text.h"
#include "cli/workload.h"
#include "eval/suite_data.h"

namespace loci {
namespace {

struct DemoCommand {
  std::string model = "needle";
  std::string book;  // empty: the one that ships with Loci
  HaystackOptions haystack;
  std::vector<std::string> plans{"dense", "store=kv4"};
  int threads = 0;
  std::string isa = "auto";
  bool json = false;
};

struct Outcome {
  std::string attention;
  std::string answer;
  bool right = false;
  uint32_t prompt_tokens = 0;
  double prefill_tok_s = 0;
  double decode_tok_s = 0;
  double prefill_roof_share = 0;
  double decode_roof_share = 0;
  uint64_t kv_bytes = 0;
};

Result<Completion> ask(Engine& engine, const Haystack& haystack, const DemoCommand& command, const Console& console) {
  ProgressBar bar(fmt::format("reading, {}", engine.info().attention), ProgressUnit::kTokens, console.err);
  Request request;
  LOCI_TRY(request.prompt, engine.tokenize(haystack.prompt));
  request.max_new_tokens = command.haystack.answer_tokens;
  request.stop = {"\n"};
  request.cancelled = console.cancel_flag();
  request.on_progress = [&](const Progress& progress) { bar.update(progress.prompt_done, progress.prompt_total); };
  LOCI_TRY(Completion done, engine.generate(request));
  if (done.finish == Finish::kCancelled) return Error{ErrorCode::kCancelled, "interrupted"};
  return done;
}

Result<Outcome> answer_with(const std::string& plan, const Haystack& haystack, const std::filesystem::path& path,
                            const Roof& roof, const DemoCommand& command, const Console& console) {
  EngineOptions options;
  options.attention = plan;
  options.context = command.haystack.tokens;
  options.threads = command.threads;
  options.isa = command.isa;
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  LOCI_TRY(const Completion done, ask(engine, haystack, command, console));
  const ModelInfo& info = engine.info();
  Outcome out;
  out.attention = info.attention;
  out.answer = done.text;
  out.right = done.text.find(haystack.value) != std::string::npos;
  out.prompt_tokens = done.prompt_tokens;
  out.prefill_tok_s = done.prefill_seconds > 0 ? done.prompt_tokens / done.prefill_seconds : 0;
  out.decode_tok_s = done.decode_seconds > 0 ? done.decode_steps / done.decode_seconds : 0;
  out.prefill_roof_share = prefill_roof_share(prefill_workload(info, done.prompt_tokens, 0, options.chunk), roof, false,
                                              done.prefill_seconds);
  out.decode_roof_share =
      decode_roof_share(decode_workload(info, done.decode_steps, done.prompt_tokens), roof, done.decode_seconds);
  out.kv_bytes = done.kv_bytes;
  return out;
}

Result<Roof> roof_of(const DemoCommand& command) {
  LOCI_TRY(const Isa isa, parse_isa(command.isa));
  ThreadPool pool(command.threads);
  return measure_roof(pool, isa);
}

void print_question(const Console& console, const Haystack& haystack, const DemoCommand& command) {
  const std::string book = command.book.empty() ? "Moby-Dick" : terminal_text(command.book);
  console.print("Hidden in {} tokens of {}:\n  {}\nQuestion:\n  {}\n\n", command.haystack.tokens, book, haystack.needle,
                haystack.question);
}

void print_outcomes(const Console& console, const std::vector<Outcome>& outcomes, const Roof& roof) {
  TextTable table({{"plan"},
                   {"answer"},
                   {""},
                   {"prefill tok/s", true},
                   {"of roof", true},
                   {"decode tok/s", true},
                   {"of roof", true},
                   {"cache", true}});
  for (const Outcome& o : outcomes) {
    table.add({o.attention, terminal_text(collapse_white_space(o.answer)), o.right ? "right" : "WRONG",
               format_number(o.prefill_tok_s), fmt::format("{:.0f}%", o.prefill_roof_share * 100),
               format_number(o.decode_tok_s), fmt::format("{:.0f}%", o.decode_roof_share * 100),
               format_bytes(o.kv_bytes)});
  }
  console.print("{}\nroof: read {} GB/s, {} ('loci bench --help' says what the shares mean)\n", table.text(),
                format_number(roof.read_bytes_per_second / 1e9), compute_rates(roof));
}

nlohmann::ordered_json outcomes_json(const Haystack& haystack, const std::vector<Outcome>& outcomes, const Roof& roof) {
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  for (const Outcome& o : outcomes) {
    runs.push_back({{"attention", o.attention},
                    {"answer", o.answer},
                    {"right", o.right},
                    {"prompt_tokens", o.prompt_tokens},
                    {"prefill_tok_s", o.prefill_tok_s},
                    {"prefill_roof_share", o.prefill_roof_share},
                    {"decode_tok_s", o.decode_tok_s},
                    {"decode_roof_share", o.decode_roof_share},
                    {"kv_bytes", o.kv_bytes}});
  }
  return {{"needle", haystack.needle},
          {"question", haystack.question},
          {"value", haystack.value},
          {"runs", runs},
          {"roof",
           {{"read_gb_s", roof.read_bytes_per_second / 1e9},
            {"int8_gmac_s", roof.int8_macs_per_second / 1e9},
            {"bf16_gmac_s", roof.bf16_macs_per_second / 1e9},
            {"int16_gmac_s", roof.int16_macs_per_second / 1e9},
            {"f32_gmac_s", roof.f32_macs_per_second / 1e9}}}};
}

Result<Haystack> build_haystack(const DemoCommand& command, const std::filesystem::path& path, const Console& console) {
  LOCI_TRY(const std::string book, read_book(command.book, console));
  LOCI_TRY(const ModelHeader header, ModelHeader::open(path));
  return make_haystack(book, command.haystack, [&](std::string_view text) { return header.count_tokens(text); });
}

Result<int> demo(const Console& console, const DemoCommand& command) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model, console));
  LOCI_TRY(const Haystack haystack, build_haystack(command, path, console));
  LOCI_TRY(const Roof roof, roof_of(command));
  if (!command.json) print_question(console, haystack, command);
  std::vector<Outcome> outcomes;
  bool all_right = true;
  for (const std::string& plan : command.plans) {
    LOCI_TRY(Outcome outcome, answer_with(plan, haystack, path, roof, command, console));
    all_right = all_right && outcome.right;
    outcomes.push_back(std::move(outcome));
  }
  if (command.json) {
    console.write_json(outcomes_json(haystack, outcomes, roof));
  } else {
    print_outcomes(console, outcomes, roof);
  }
  return all_right ? kExitOk : kExitError;
}

}  // namespace

void add_demo(const Command& app, Choice& choice) {
  auto options = std::make_shared<DemoCommand>();
  const Command command =
      app.add_command("demo",
                      "Hide a fact in a novel, let a model read all of it and answer a question about the fact: once\n"
                      "with dense attention over a 16-bit cache, once over a 4-bit cache. Prints both answers with\n"
                      "their speed, cache bytes and share of the machine's roof. The exit code is 1 if one is wrong.",
                      "  loci demo\n"
                      "  loci demo --tokens 131072 --seed 7\n"
                      "  loci demo --attention dense --attention store=kv8 --json\n");
  command.add_option("-m,--model", options->model, "Model to ask").shows_default().type("MODEL");
  command.add_option("--book", options->book, "Text to hide the fact in; default: Moby-Dick, which ships with Loci")
      .type("FILE");
  command.add_option("--tokens", options->haystack.tokens, "Length of the prompt and the answer")
      .shows_default()
      .range(1u, 1u << 24)
      .type("N");
  command.add_option("--depth", options->haystack.depth, "Where the fact stands: 0 at the beginning, 1 at the end")
      .shows_default()
      .range(0.0, 1.0)
      .type("D");
  command.add_option("--seed", options->haystack.seed, "Chooses the fact").shows_default().type("S");
  command.add_option("--attention", options->plans, "Plan to answer with; may be given more than once")
      .one_word_each()
      .default_text("dense, store=kv4")
      .type("PLAN");
  command.add_option("--threads", options->threads, "Worker threads; 0: every core")
      .shows_default()
      .range(0, 1024)
      .type("N");
  command.add_option("--isa", options->isa, "Instruction set: auto, scalar, avx2, avx512, amx")
      .shows_default()
      .one_of({"auto", "scalar", "avx2", "avx512", "amx"})
      .type("ISA");
  command.add_flag("--json", options->json, "Print one JSON object: needle, question, value, runs, roof");
  set_action(command, choice, options, demo);
}

}  // namespace loci
