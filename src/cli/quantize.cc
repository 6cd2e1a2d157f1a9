// loci quantize: makes a smaller model of a model.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/quantity.h"
#include "calibrate/quantize/quantizer.h"
#include "cli/calibrate_command.h"
#include "cli/model_header.h"
#include "cli/model_options.h"
#include "cli/quantize_ladder.h"
#include "cli/shipped_data.h"
#include "cli/terminal_text.h"
#include "io/checksum.h"

namespace loci {
namespace {

// The text's last part is scored, what is in front of it calibrates.
constexpr double kCalibrationShare = 0.8;

// With pieces of 1,024 tokens SmolLM2 takes 5 minutes and 1.8 GiB on two cores.
constexpr uint32_t kSequences = 48;

struct QuantizeCommand {
  std::string model;
  std::string output;
  std::string scheme = "w4a8kv4";
  std::string group = "128";
  std::string steps = "all";
  std::string embeddings = "q8_0";
  std::string store;
  std::string text;        // empty: the novel that ships with Loci
  uint32_t sequences = 0;  // as many as the text has, kSequences at most
  uint32_t length = 1024;
  bool ladder = false;
  uint32_t ladder_tokens = 4096;
  int threads = 0;
  bool json = false;
};

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

// The line that makes the same file again; folders of this machine do not belong into a file.
std::string command_text(const QuantizeCommand& command, const QuantizeRun& run) {
  std::string out = fmt::format("loci quantize -m {} --scheme {} --group {} --steps {} --embeddings {} -o {}",
                                file_name(command.model), command.scheme, command.group, run.steps.names(),
                                command.embeddings, file_name(command.output));
  if (!command.store.empty()) out += fmt::format(" --store {}", command.store);
  if (run.steps.need_statistics()) {
    if (command.sequences > 0) out += fmt::format(" --sequences {}", command.sequences);
    out += fmt::format(" --length {}", command.length);
    if (!command.text.empty()) out += fmt::format(" --calib {}", file_name(command.text));
  }
  return out;
}

struct Texts {
  CalibrationText calibration;
  LadderText ladder;
};

// Sequences evenly from the front of the text; the ladder's tokens are its last ones.
Result<Texts> read_texts(const QuantizeCommand& command, const std::filesystem::path& model, const Console& console) {
  LOCI_TRY(const std::string book, read_book(command.text, console));
  LOCI_TRY(const ModelHeader header, ModelHeader::open(model));
  LOCI_TRY(const std::vector<TokenId> tokens, header.tokenizer().encode(book, {.add_special = false}));
  const uint32_t length = std::min(command.length, header.trained_context());
  const auto front = static_cast<size_t>(kCalibrationShare * static_cast<double>(tokens.size()));
  const size_t fit = front / length;
  const size_t sequences = command.sequences > 0 ? command.sequences : std::min<size_t>(kSequences, fit);
  if (sequences == 0 || sequences > fit) {
    return fail(ErrorCode::kInvalidArgument,
                "the text has {} tokens, too few for {} of {}: its first {}% calibrate; take a longer text, fewer "
                "--sequences or a smaller --length",
                tokens.size(), sequences <= 1 ? "a sequence" : fmt::format("{} sequences", sequences), length,
                static_cast<int>(100 * kCalibrationShare));
  }
  Texts out;
  const size_t stride = front / sequences;
  for (size_t i = 0; i < sequences; ++i) {
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(i * stride);
    out.calibration.sequences.emplace_back(begin, begin + length);
  }
  out.calibration.name = fmt::format("{} {:016x}", command.text.empty() ? "moby-dick.txt" : file_name(command.text),
                                     static_cast<uint64_t>(checksum(std::as_bytes(std::span(book)))));
  const size_t scored = std::min<size_t>(command.ladder_tokens, tokens.size() - front);
  out.ladder.tokens.assign(tokens.end() - static_cast<std::ptrdiff_t>(scored), tokens.end());
  out.ladder.window = static_cast<uint32_t>(std::min<size_t>({scored, 2048, header.trained_context()}));
  return out;
}

Result<QuantizeRun> read_recipe(const QuantizeCommand& command, const Console& console) {
  QuantizeRun run;
  LOCI_TRY(run.scheme, parse_scheme(command.scheme, command.group));
  LOCI_TRY(run.steps, parse_steps(command.steps, run.scheme));
  run.embeddings = command.embeddings == "f16" ? DType::kF16 : DType::kQ8_0;
  run.store = command.store;
  run.output = command.output;
  run.command = command_text(command, run);
  run.cancelled = [&console] { return console.cancelled(); };
  return run;
}

Result<QuantizeSummary> quantize_with_bar(ModelQuantizer& quantizer, QuantizeRun run, const QuantizeCommand& command,
                                          const Console& console) {
  ProgressBar bar(fmt::format("{}, {}", run.scheme.name(), terminal_text(command.model)), ProgressUnit::kShare,
                  console.err);
  run.on_share = [&](double share) { bar.update(static_cast<uint64_t>(share * 1000), 1000); };
  Result<QuantizeSummary> made = quantizer.run(run);
  bar.clear();
  if (!made.ok() && made.error().code == ErrorCode::kCancelled) {
    return fail(ErrorCode::kCancelled, "interrupted; the same command goes on from '{}.unfinished'", command.output);
  }
  return made;
}

nlohmann::ordered_json ladder_json(const std::vector<Rung>& rungs) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Rung& rung : rungs) {
    out.push_back({{"recipe", rung.name},
                   {"scheme", rung.scheme},
                   {"group", rung.group},
                   {"steps", rung.steps},
                   {"mean_nll", rung.mean_nll},
                   {"rise", rung.rise},
                   {"noise", rung.noise}});
  }
  return out;
}

Result<int> quantize(const Console& console, const QuantizeCommand& command) {
  const double start = seconds_now();
  LOCI_TRY(const QuantizeRun run, read_recipe(command, console));
  LOCI_TRY(const std::filesystem::path path, find_model(command.model, console));
  Texts texts;
  if (run.steps.need_statistics() || command.ladder) {
    LOCI_TRY(texts, read_texts(command, path, console));
  }
  std::unique_ptr<ModelQuantizer> quantizer;
  {
    ProgressBar bar("loading", ProgressUnit::kShare, console.err);
    LOCI_TRY(quantizer, ModelQuantizer::open(path, texts.calibration, command.threads, [&](double share) {
               bar.update(static_cast<uint64_t>(share * 1000), 1000);
               return !console.cancelled();
             }));
  }
  Ladder ladder(*quantizer, run, texts.ladder, command.threads, console);
  if (command.ladder) LOCI_CHECK(ladder.climb(path));
  LOCI_TRY(const QuantizeSummary summary, quantize_with_bar(*quantizer, run, command, console));
  if (command.ladder) LOCI_CHECK(ladder.arrive());
  std::error_code ignored;
  const uint64_t bytes = std::filesystem::file_size(command.output, ignored);
  const double seconds = seconds_now() - start;
  if (command.json) {
    console.write_json({{"output", command.output},
                        {"scheme", run.scheme.name()},
                        {"steps", run.steps.names()},
                        {"notes", summary.notes},
                        {"bytes", bytes},
                        {"seconds", seconds},
                        {"peak_bytes", peak_resident_bytes()},
                        {"resumed_layers", summary.resumed},
                        {"ladder", ladder_json(ladder.rungs())}});
    return kExitOk;
  }
  if (command.ladder) console.print("{}\n", ladder_table(ladder.rungs()));
  console.print("{}: {}, {} ({}) in {}, {} at most\n", terminal_text(command.output), run.scheme.name(),
                format_bytes(bytes), run.steps.names(), format_duration(seconds), format_bytes(peak_resident_bytes()));
  if (!summary.notes.empty()) console.print("{}\n", summary.notes);
  return kExitOk;
}

}  // namespace

void add_quantize(const Command& app, Choice& choice) {
  auto options = std::make_shared<QuantizeCommand>();
  const Command command = app.add_command(
      "quantize",
      "Make a smaller model: QServe's 4-bit weights, 8-bit activations and 4-bit cache (arXiv:2405.04532).\n"
      "The output is a GGUF file that every command takes in place of the model; its cache is stored as the\n"
      "scheme says unless a plan names another store. `loci inspect` shows what was done to each layer.\n"
      "Steps: rotate-values (channels of values are mixed within a head), center-keys (the mean of keys, which\n"
      "attention does not see, is not stored), smooth-attention (outliers of keys move into queries),\n"
      "compensate-keys (4-bit keys are rounded so that scores come out right), smooth-inputs (outliers behind\n"
      "norms move into weights), turn-inputs (what norms give the projections is mixed as it is read),\n"
      "smooth-outputs (outliers of the inputs of the output projection and of down move into weights),\n"
      "turn-gated (the input of down is mixed as it is read), clip (ranges in which rounding costs least),\n"
      "compensate (GPTQ), sequential (weights make up for what the layers in front are off by). Not among\n"
      "all: reorder (columns that matter alike share a group), rotate (the residual stream is mixed instead\n"
      "of the inputs). All are folded into weights but those that center and compensate keys and the two\n"
      "that turn, which the engine does for every token.\n"
      "Ctrl-C stops it; the same command goes on where it was and ends with the same file.",
      "  loci quantize -m smollm2 -o smollm2-w4a8kv4.gguf\n"
      "  loci quantize -m smollm2 --group channel --ladder -o channel.gguf\n"
      "  loci quantize -m ./folder --scheme w8a8kv8 --steps none -o plain.gguf\n"
      "  loci run -m smollm2-w4a8kv4.gguf -p 'Call me'\n");
  add_model_option(command, options->model);
  command.add_option("-o,--output", options->output, "The file to write").required().type("FILE.gguf");
  command
      .add_option("--scheme", options->scheme,
                  "Weights and activations (w4a8, w8a8, w4a16, w16a16), then the cache (kv4, kv8, kv16)")
      .shows_default()
      .type("SCHEME");
  command
      .add_option("--group", options->group,
                  "Columns that share a step of 4-bit weights, at most: 128, 64, 32; channel: all of a row")
      .shows_default()
      .type("N");
  command.add_option("--steps", options->steps, "all (that suit the scheme), none, or names apart by commas")
      .shows_default()
      .type("LIST");
  command.add_option("--embeddings", options->embeddings, "How embedding and head are stored: q8_0 or f16")
      .shows_default()
      .one_of({"q8_0", "f16"})
      .type("TYPE");
  command.add_option("--store", options->store, "The cache by layers, as a plan has it: kv4,kv8@0-1")
      .default_text("as the scheme says")
      .type("STORES");
  command.add_option("--calib", options->text, "The text to calibrate with; default: the novel that ships with Loci")
      .type("FILE");
  command
      .add_option(
          "--sequences", options->sequences,
          "Pieces of the text that are read, one in eight of them to judge by; 0: as many as it has, 48 at most")
      .shows_default()
      .range(0u, 4096u)
      .type("N");
  command.add_option("--length", options->length, "Tokens of a piece").shows_default().range(64u, 8192u).type("N");
  command.add_flag("--ladder", options->ladder,
                   "Also measure what each step does to the perplexity of the text's last part");
  command.add_option("--ladder-tokens", options->ladder_tokens, "Tokens that are scored for it")
      .shows_default()
      .range(64u, 1u << 20)
      .type("N");
  command.add_option("--threads", options->threads, "Worker threads; 0: one for each core this process may use")
      .shows_default()
      .range(0, 1024)
      .type("N");
  command.add_flag("--json", options->json,
                   "Print one JSON object: output, scheme, steps, notes, bytes, seconds, peak_bytes, resumed_layers, "
                   "ladder");
  set_action(command, choice, options, quantize);
}

}  // namespace loci
