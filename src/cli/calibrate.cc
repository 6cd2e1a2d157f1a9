// loci calibrate: measures the heads of a model and writes a profile for the methods that need one.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/checked.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "calibrate/act.h"
#include "calibrate/calibration.h"
#include "calibrate/capitals.h"
#include "calibrate/duo.h"
#include "calibrate/moa.h"
#include "calibrate/ph3.h"
#include "calibrate/picture.h"
#include "calibrate/razor.h"
#include "calibrate/retrieval_heads.h"
#include "cli/calibrate_command.h"
#include "cli/haystack.h"
#include "cli/model_options.h"
#include "cli/shipped_data.h"
#include "cli/terminal_text.h"

namespace loci {
namespace {

constexpr uint32_t kAnswerTokens = 16;
// Tokens that a chat template may add around a message.
constexpr uint32_t kTemplateTokens = 256;

struct CalibrateCommand {
  std::string model;
  std::string kind;
  std::string output;
  std::string text;  // empty: the novel that ships with Loci
  std::string picture;
  uint32_t prompts = 0;  // 0: the calibration's own number
  uint32_t length = 0;
  uint64_t seed = 0;
  double density = 0.5;
  uint32_t text_rows = 64;
  bool raw = false;
  int threads = 0;
  bool json = false;
};

// What a calibration does unless told otherwise.
struct Defaults {
  const char* kind;
  uint32_t prompts;
  uint32_t length;
};
constexpr Defaults kDefaults[] = {{"retrieval-heads", 20, 4096},
                                  {"razor", 2, 4096},
                                  {"duo", 8, 4096},
                                  {"moa", 16, 4096},
                                  {"act", 8, 1024},
                                  {"ph3", 28, 256}};

const Defaults& defaults_of(const std::string& kind) {
  return *std::find_if(std::begin(kDefaults), std::end(kDefaults), [&](const Defaults& d) { return kind == d.kind; });
}

// The line that makes the same profile again; paths of this machine do not belong into a profile.
std::string command_line(const CalibrateCommand& command) {
  const auto name = [](const std::string& path) { return std::filesystem::path(path).filename().string(); };
  std::string out =
      fmt::format("loci calibrate -m {} --for {} -o {} --prompts {} --length {} --seed {}", name(command.model),
                  command.kind, name(command.output), command.prompts, command.length, command.seed);
  if (command.kind == "moa") out += fmt::format(" --density {} --text-rows {}", command.density, command.text_rows);
  if (!command.text.empty()) out += fmt::format(" --text {}", name(command.text));
  if (command.raw) out += " --raw";
  return out;
}

// The collapsed book from a sentence on that the seed chooses, so that prompts differ; its beginning follows its end.
std::string turned(const std::string& book, uint64_t seed) {
  const std::vector<std::string_view> sentences = split_sentences(book);
  std::mt19937_64 random(seed);
  const size_t at = static_cast<size_t>(sentences[random() % sentences.size()].data() - book.data());
  return fmt::format("{} {}", std::string_view(book).substr(at), std::string_view(book).substr(0, at));
}

Result<Needle> make_needle(const Subject& subject, const std::string& book, uint32_t tokens, double depth,
                           uint64_t seed, bool raw) {
  const HaystackOptions options{.tokens = tokens - (subject.chats(raw) ? std::min(kTemplateTokens, tokens / 4) : 0),
                                .answer_tokens = kAnswerTokens,
                                .depth = depth,
                                .seed = seed};
  LOCI_TRY(const Haystack haystack,
           make_haystack(turned(book, seed), options, [&](std::string_view text) -> Result<uint32_t> {
             LOCI_TRY(const std::vector<TokenId> ids, subject.tokenizer().encode(text));
             return static_cast<uint32_t>(ids.size());
           }));
  const size_t question = haystack.prompt.rfind(haystack.question);
  const std::string document = haystack.prompt.substr(0, question - 1);
  const std::string beginning = haystack.prompt.substr(question + haystack.question.size() + 1);
  LOCI_TRY(SubjectPrompt prompt, subject.prompt(document, haystack.question, beginning, raw));
  if (prompt.tokens.size() + kAnswerTokens > subject.context()) {
    return fail(ErrorCode::kLimit,
                "a prompt has {} tokens, but with its answer only {} fit: ask for a smaller --length",
                prompt.tokens.size(), subject.context());
  }
  return locate_needle(subject.tokenizer(), std::move(prompt), haystack.value);
}

// Depths run from 5% to 95%. For moa, every other prompt has half the length, at the depth of the next.
Result<std::vector<Needle>> make_needles(const Subject& subject, const CalibrateCommand& command,
                                         const Console& console) {
  LOCI_TRY(const std::string text, read_book(command.text, console));
  const std::string book = collapse_white_space(text);
  if (book.empty()) return fail(ErrorCode::kInvalidArgument, "the text '{}' is empty", command.text);
  std::vector<Needle> out;
  const uint32_t a_depth = command.kind == "moa" ? 2 : 1;  // prompts
  const auto depths = static_cast<uint32_t>(div_up(command.prompts, a_depth));
  for (uint32_t i = 0; i < command.prompts; ++i) {
    const double depth = depths == 1 ? 0.5 : 0.05 + 0.9 * (i / a_depth) / (depths - 1);
    const uint32_t tokens = i % a_depth + 1 < a_depth ? command.length / 2 : command.length;
    LOCI_TRY(Needle needle, make_needle(subject, book, tokens, depth, command.seed * 1000003 + i, command.raw));
    out.push_back(std::move(needle));
  }
  return out;
}

std::map<std::string, double> settings_of(const CalibrateCommand& command) {
  return {{"prompts", command.prompts}, {"length", command.length}, {"seed", static_cast<double>(command.seed)}};
}

Result<std::unique_ptr<Calibration>> make_calibration(Subject& subject, const CalibrateCommand& command,
                                                      const Console& console) {
  std::map<std::string, double> settings = settings_of(command);
  if (command.kind == "razor") {
    return razor(
        subject,
        {.period = command.length / kCopies, .rounds = command.prompts, .seed = command.seed, .settings = settings});
  }
  if (command.kind == "ph3") {
    return ph3(subject, capitals(), {.prompts = command.prompts, .seed = command.seed, .settings = settings});
  }
  LOCI_TRY(std::vector<Needle> needles, make_needles(subject, command, console));
  if (command.kind == "duo") {
    DuoOptions options{.answer_tokens = kAnswerTokens, .settings = settings};
    options.settings["sinks"] = options.pattern.sinks;
    options.settings["window"] = options.pattern.window;
    return duo(subject, std::move(needles), std::move(options));
  }
  if (command.kind == "moa") {
    settings["density"] = command.density;
    settings["text_rows"] = command.text_rows;
    return moa(subject, std::move(needles),
               {.shorter = command.length / 2,
                .density = command.density,
                .judged = {.answer_tokens = kAnswerTokens, .text_rows = command.text_rows},
                .settings = settings});
  }
  if (command.kind == "act") return act(subject, std::move(needles), std::move(settings));
  return retrieval_heads(subject, std::move(needles), {.answer_tokens = kAnswerTokens, .settings = settings});
}

Result<std::unique_ptr<Subject>> load_subject(const CalibrateCommand& command, const Console& console) {
  LOCI_TRY(const std::filesystem::path path, find_model(command.model, console));
  EngineOptions options;
  options.threads = command.threads;
  options.context = command.length + 2 * kAnswerTokens;
  if (command.kind == "act") options.chunk = options.context;  // sinks are looked for in the whole context at once
  ProgressBar bar("loading", ProgressUnit::kShare, console.err);
  options.on_load = [&](double share) {
    bar.update(static_cast<uint64_t>(share * 1000), 1000);
    return !console.cancelled();
  };
  return Subject::load(path, std::move(options));
}

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  if (!file.flush()) return fail(ErrorCode::kIo, "'{}' cannot be written", path);
  return {};
}

void show(const Profile& profile, const CalibrateCommand& command, const Console& console) {
  for (const auto& [name, values] : profile.values) console.print("{}\n", text_picture(profile, name));
  console.print("{} ({} layers, {} heads) in {}: {}\n", profile.kind, profile.layers, profile.heads,
                format_duration(profile.seconds), terminal_text(command.output));
}

Result<int> run_calibrate(const Console& console, const CalibrateCommand& given) {
  if (given.kind == "task-kv") {
    return fail(ErrorCode::kInvalidArgument,
                "task-kv needs no profile: it finds its heads in each prompt anew; use it as retain=task-kv");
  }
  CalibrateCommand command = given;
  const Defaults& defaults = defaults_of(command.kind);
  if (command.prompts == 0) command.prompts = defaults.prompts;
  if (command.length == 0) command.length = defaults.length;
  LOCI_TRY(const std::unique_ptr<Subject> subject, load_subject(command, console));
  LOCI_TRY(const std::unique_ptr<Calibration> calibration, make_calibration(*subject, command, console));
  ProgressBar bar(fmt::format("{}, {}", command.kind, terminal_text(command.model)), ProgressUnit::kShare, console.err);
  const CalibrationRun run{.fingerprint = subject->core().fingerprint(),
                           .state_path = command.output + ".unfinished",
                           .command = command_line(command),
                           .cancelled = [&] { return console.cancelled(); },
                           .on_progress =
                               [&](double done, double total) {
                                 bar.update(static_cast<uint64_t>(done * 1000), static_cast<uint64_t>(total * 1000));
                               }};
  Result<Profile> profile = calibrate(*calibration, run);
  bar.clear();
  if (!profile.ok() && profile.error().code == ErrorCode::kCancelled)
    return fail(ErrorCode::kCancelled, "interrupted; the same command goes on from '{}'", run.state_path);
  if (!profile.ok()) return profile.error();
  LOCI_CHECK(write_profile(*profile, command.output));
  std::error_code ignored;
  std::filesystem::remove(run.state_path, ignored);
  if (!command.picture.empty()) LOCI_CHECK(write_file(command.picture, svg_picture(*profile)));
  if (command.json) {
    console.write_json({{"kind", profile->kind},
                        {"profile", command.output},
                        {"seconds", profile->seconds},
                        {"settings", profile->settings},
                        {"values", profile->values}});
  } else {
    show(*profile, command, console);
  }
  return kExitOk;
}

}  // namespace

void add_calibrate(const Command& app, Choice& choice) {
  auto options = std::make_shared<CalibrateCommand>();
  const Command command = app.add_command(
      "calibrate",
      "Measure what the heads of a model do and write a profile, which some methods read (profile=FILE).\n"
      "retrieval-heads: heads whose greatest attention copies the answer out of a text; razor: heads that\n"
      "look back at earlier copies of random tokens; duo: how much an answer suffers when a head sees sinks\n"
      "and a window alone; moa: a span for each head under a bound; act: heads whose sinks are better shrunk;\n"
      "ph3: heads that write what is remembered, and those that copy what the text says. task-kv needs no\n"
      "profile.\n"
      "Ctrl-C stops it; the same command goes on where it was and ends with the same profile.",
      "  loci calibrate -m needle --for retrieval-heads -o retrieval.json\n"
      "  loci calibrate -m smollm2 --for duo --prompts 4 --length 2048 -o duo.json --picture duo.svg\n"
      "  loci run -m needle --raw -f book.txt -p '...' --attention 'retain=duo(profile=duo.json)'\n");
  add_model_option(command, options->model);
  command.add_option("--for", options->kind, "What to measure: retrieval-heads, razor, duo, moa, act, ph3")
      .required()
      .one_of({"retrieval-heads", "razor", "duo", "moa", "act", "ph3", "task-kv"})
      .type("KIND");
  command.add_option("-o,--output", options->output, "The profile to write").required().type("PROFILE");
  command.add_option("--prompts", options->prompts, "Prompts to ask, for razor sequences; 0: what suits the kind")
      .shows_default()
      .range(0u, 10000u)
      .type("N");
  command.add_option("--length", options->length, "Tokens of a prompt and its answer; 0: what suits the kind")
      .shows_default()
      .range(0u, 1u << 24)
      .type("N");
  command.add_option("--seed", options->seed, "Chooses texts, facts and random tokens").shows_default().type("N");
  command.add_option("--text", options->text, "The text to hide facts in; default: the novel that ships with Loci")
      .type("FILE");
  command.add_option("--density", options->density, "moa: the bound of the mean span, as a share of the length")
      .shows_default()
      .range(0.125, 1.0)
      .type("SHARE");
  command.add_option("--text-rows", options->text_rows, "moa: rows of plain text before each question that count too")
      .shows_default()
      .range(0u, 4096u)
      .type("N");
  command.add_flag("--raw", options->raw, "Ask in plain text, without the model's chat template");
  command.add_option("--picture", options->picture, "Also draw the profile").type("FILE.svg");
  command.add_option("--threads", options->threads, "Worker threads; 0: one for each core this process may use")
      .shows_default()
      .range(0, 1024)
      .type("N");
  command.add_flag("--json", options->json, "Print one JSON object: kind, profile, seconds, settings, values");
  set_action(command, choice, options, run_calibrate);
}

}  // namespace loci
