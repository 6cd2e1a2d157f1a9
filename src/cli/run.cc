// loci run: read a document, answer a question about it.
#include <memory>
#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/document_request.h"
#include "cli/sampling_options.h"

namespace loci {
namespace {

struct RunCommand {
  ModelOptions model;
  SamplingOptions sampling;
  DocumentInput input;
  bool ignore_eos = false;
  bool json = false;
};

Result<Completion> generate(Engine& engine, const RunCommand& command, DocumentPrompt prompt, const Console& console) {
  ProgressBar bar("reading", ProgressUnit::kTokens, console.err);
  Request request;
  request.prompt = std::move(prompt.tokens);
  request.spans = std::move(prompt.spans);
  request.max_new_tokens = command.sampling.max_new_tokens;
  request.sampling = command.sampling.sampling;
  request.stop = command.sampling.stop;
  request.ignore_eos = command.ignore_eos;
  request.cancelled = console.cancel_flag();
  bool reading = true;
  request.on_progress = [&](const Progress& progress) {
    if (progress.generated > 0) reading = false;
    if (reading) bar.update(progress.prompt_done, progress.prompt_total);
  };
  if (!command.json) {
    request.on_text = [&](std::string_view text) {
      reading = false;
      bar.clear();
      console.write_foreign(text);
    };
  }
  return engine.generate(request);
}

double per_second(uint64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

double prefill_rate(const Completion& done) {
  return per_second(done.prompt_tokens - done.cached_tokens, done.prefill_seconds);
}

nlohmann::ordered_json run_json(const Completion& done, const ModelInfo& info, double load_seconds) {
  return {{"text", done.text},
          {"prompt_tokens", done.prompt_tokens},
          {"generated_tokens", done.tokens.size()},
          {"load_s", load_seconds},
          {"prefill_tok_s", prefill_rate(done)},
          {"decode_tok_s", per_second(done.decode_steps, done.decode_seconds)},
          {"kv_bytes", done.kv_bytes},
          {"kept_tokens", done.kept_tokens},
          {"cached_tokens", done.cached_tokens},
          {"finish", to_string(done.finish)},
          {"attention", info.attention}};
}

void note_summary(const Console& console, const Completion& done, const ModelInfo& info) {
  const std::string cached = done.cached_tokens > 0 ? fmt::format(" ({} cached)", done.cached_tokens) : std::string();
  console.note("[{} tokens read{} at {} tok/s, {} written at {} tok/s, cache {} for {} entries per head, {}, {}]",
               done.prompt_tokens, cached, format_number(prefill_rate(done)), done.tokens.size(),
               format_number(per_second(done.decode_steps, done.decode_seconds)), format_bytes(done.kv_bytes),
               done.kept_tokens, info.attention, to_string(done.finish));
}

Result<int> run(const Console& console, const RunCommand& command) {
  LOCI_TRY(OpenDocument open, open_document(console, command.model, command.input, command.sampling.max_new_tokens));
  Engine& engine = open.engine;
  LOCI_TRY(const Completion done, generate(engine, command, std::move(open.prompt), console));
  if (command.json) {
    console.write_json(run_json(done, engine.info(), open.load_seconds));
  } else {
    console.write("\n");
    note_summary(console, done, engine.info());
  }
  return done.finish == Finish::kCancelled ? kExitInterrupted : kExitOk;
}

}  // namespace

void add_run(const Command& app, Choice& choice) {
  auto options = std::make_shared<RunCommand>();
  const Command command = app.add_command(
      "run",
      "Read a document and answer a question about it. FILE is the document, PROMPT the question; both\n"
      "go to the model as one message in its chat template. --raw gives it the bytes of FILE and then\n"
      "those of PROMPT as they are, for models without a template and for completions. The text streams\n"
      "to stdout, a summary with speeds and cache size follows on stderr. Ctrl-C ends the answer; with\n"
      "--json the object is still whole and its \"finish\" is \"cancelled\".",
      "  loci run -m smollm2 -p 'What is the capital of France?'\n"
      "  loci run -m smollm2 -f report.txt -p 'Summarise this in three sentences.' -n 200\n"
      "  loci run -m needle --raw -f haystack.txt -n 16 --attention store=kv4 --json\n");
  add_model_options(command, options->model);
  const DocumentOptions input = add_document_options(command, options->input);
  add_sampling_options(command, options->sampling);
  command.add_flag("--ignore-eos", options->ignore_eos, "Go on after the model ends its text").group("Sampling");
  command.add_flag("--json", options->json,
                   "Print one JSON object: text, prompt_tokens, generated_tokens, load_s, prefill_tok_s,\n"
                   "decode_tok_s, kv_bytes, kept_tokens, cached_tokens, finish, attention");
  set_action(command, choice, options, run, [input] { require_options({input.file, input.prompt}, 1, 2); });
}

}  // namespace loci
