// loci run: read a document, answer a question about it.
#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/checked.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "cli/commands.h"
#include "cli/document_prompt.h"
#include "cli/model_header.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"
#include "cli/text_input.h"

namespace loci {
namespace {

constexpr uint32_t kContextStep = 256;
// Tokens that a chat template may add around a message, default system prompts included.
constexpr uint32_t kTemplateTokens = 512;

struct RunCommand {
  ModelOptions model;
  SamplingOptions sampling;
  std::string file;
  std::string prompt;
  bool raw = false;
  bool ignore_eos = false;
  bool json = false;
};

// Room for the prompt and the answer and no more: the cache is what costs memory. Never beyond what the model was
// trained for; whether that is enough shows when the prompt is built.
Result<uint32_t> choose_context(const ModelHeader& header, const RunCommand& command, const std::string& document) {
  if (command.model.context > 0) return command.model.context;
  LOCI_TRY(const uint32_t prompt, header.count_tokens(document_message(document, command.prompt)));
  const uint64_t wanted = uint64_t{prompt} + command.sampling.max_new_tokens + (command.raw ? 0 : kTemplateTokens);
  return static_cast<uint32_t>(std::min<uint64_t>(header.trained_context(), round_up(wanted, kContextStep)));
}

Status check_room(const DocumentPrompt& prompt, const RunCommand& command, const ModelInfo& info) {
  const uint64_t wanted = prompt.tokens.size() + command.sampling.max_new_tokens;
  if (prompt.tokens.empty())
    return fail(ErrorCode::kInvalidArgument, "the prompt is empty: give -f FILE, -p PROMPT or both");
  if (wanted <= info.context) return {};
  if (command.model.context > 0) {
    return fail(ErrorCode::kLimit, "the prompt has {} tokens and -n asks for {}: {} do not fit --ctx {}",
                prompt.tokens.size(), command.sampling.max_new_tokens, wanted, info.context);
  }
  return fail(
      ErrorCode::kLimit,
      "the prompt has {} tokens and -n asks for {}: {} are more than the {} that '{}' was trained for; shorten the "
      "document or lower -n",
      prompt.tokens.size(), command.sampling.max_new_tokens, wanted, info.trained_context, info.name);
}

Result<DocumentPrompt> build_prompt(const Engine& engine, const RunCommand& command, const std::string& document) {
  if (command.raw) return raw_prompt(engine, document, command.prompt);
  if (!engine.info().has_chat_template) {
    return fail(ErrorCode::kUnsupported,
                "model '{}' has no chat template: use --raw, which gives it the document and the prompt as they are",
                engine.info().name);
  }
  return chat_document_prompt(engine, document, command.prompt);
}

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
  std::string document;
  if (!command.file.empty()) {
    LOCI_TRY(document, read_text(command.file, console));
  }
  LOCI_TRY(const std::filesystem::path path, find_model(command.model.model, console));
  EngineOptions options = engine_options(command.model);
  {
    LOCI_TRY(const ModelHeader header, ModelHeader::open(path));
    LOCI_TRY(options.context, choose_context(header, command, document));
  }
  const auto begin = std::chrono::steady_clock::now();
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  const std::chrono::duration<double> loading = std::chrono::steady_clock::now() - begin;
  LOCI_TRY(DocumentPrompt prompt, build_prompt(engine, command, document));
  LOCI_CHECK(check_room(prompt, command, engine.info()));
  LOCI_TRY(const Completion done, generate(engine, command, std::move(prompt), console));
  if (command.json) {
    console.write_json(run_json(done, engine.info(), loading.count()));
  } else {
    console.write("\n");
    note_summary(console, done, engine.info());
  }
  return done.finish == Finish::kCancelled ? kExitInterrupted : kExitOk;
}

}  // namespace

void add_run(CLI::App& app, Choice& choice) {
  auto options = std::make_shared<RunCommand>();
  CLI::App* command =
      add_command(app, "run",
                  "Read a document and answer a question about it. FILE is the document, PROMPT the question; both\n"
                  "go to the model as one message in its chat template. --raw gives it the bytes of FILE and then\n"
                  "those of PROMPT as they are, for models without a template and for completions. The text streams\n"
                  "to stdout, a summary with speeds and cache size follows on stderr. Ctrl-C ends the answer; with\n"
                  "--json the object is still whole and its \"finish\" is \"cancelled\".",
                  "  loci run -m smollm2 -p 'What is the capital of France?'\n"
                  "  loci run -m smollm2 -f report.txt -p 'Summarise this in three sentences.' -n 200\n"
                  "  loci run -m needle --raw -f haystack.txt -n 16 --attention store=kv4 --json\n");
  add_model_options(*command, options->model);
  CLI::Option* file = command->add_option("-f,--file", options->file, "The document; - reads standard input");
  CLI::Option* prompt = command->add_option("-p,--prompt", options->prompt, "The question");
  file->type_name("FILE")->group("Input");
  prompt->type_name("PROMPT")->group("Input");
  command->add_flag("--raw", options->raw, "No chat template: FILE and PROMPT, concatenated")->group("Input");
  add_sampling_options(*command, options->sampling);
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on after the model ends its text")->group("Sampling");
  command->add_flag("--json", options->json,
                    "Print one JSON object: text, prompt_tokens, generated_tokens, load_s, prefill_tok_s,\n"
                    "decode_tok_s, kv_bytes, kept_tokens, cached_tokens, finish, attention");
  set_action(command, choice, options, run, [file, prompt] { require_options({file, prompt}, 1, 2); });
}

}  // namespace loci
