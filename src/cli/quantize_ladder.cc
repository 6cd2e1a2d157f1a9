#include "cli/quantize_ladder.h"

#include <cmath>

#include "base/progress.h"
#include "cli/model_options.h"
#include "cli/table.h"
#include "loci/loci.h"

namespace loci {
namespace {

Result<std::vector<float>> score_model(const std::filesystem::path& path, const std::string& attention,
                                       const std::string& activations, const LadderText& text, int threads,
                                       const Console& console) {
  EngineOptions options;
  options.threads = threads;
  options.context = text.window;
  options.attention = attention;
  options.activations = activations;
  options.prefix_cache = false;
  LOCI_TRY(Engine engine, load_engine(path, options, console));
  ProgressBar bar("scoring", ProgressUnit::kTokens, console.err);
  ScoreOptions scoring;
  scoring.window = text.window;
  scoring.cancelled = console.cancel_flag();
  scoring.on_progress = [&](const Progress& p) { bar.update(p.prompt_done, p.prompt_total); };
  LOCI_TRY(const std::vector<TokenScore> scores, engine.score(text.tokens, scoring));
  std::vector<float> out;
  for (const TokenScore& score : scores) out.push_back(score.nll);
  return out;
}

double mean_of(const std::vector<float>& nll) {
  double sum = 0;
  for (const float x : nll) sum += x;
  return sum / static_cast<double>(nll.size());
}

// Of the mean of the differences, token by token.
double standard_error(const std::vector<float>& a, const std::vector<float>& b) {
  const double mean = mean_of(a) - mean_of(b), n = static_cast<double>(a.size());
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(double{a[i]} - b[i] - mean, 2);
  return std::sqrt(squares / n / n);
}

// What is quantized on the way to the recipe.
struct Stop {
  std::string name;
  QuantScheme scheme;
  QuantSteps steps;
};

std::vector<Stop> stops_to(const QuantizeRun& recipe, bool rotates) {
  std::vector<Stop> out;
  QuantScheme scheme = recipe.scheme;
  QuantSteps steps;
  if (scheme.weight_bits == 4 && scheme.activation_bits == 8) {
    out.push_back({"w4a16, groups, plain rounding",
                   {.weight_bits = 4, .activation_bits = 16, .store = KvCodec::kKv16, .group = 128},
                   steps});
  }
  // Groups come after the keys, as in the paper's table.
  const bool grouped = scheme.weight_bits == 4 && scheme.activation_bits == 8 && scheme.group > 0;
  if (grouped) scheme.group = 0;
  QuantScheme wide = scheme;
  wide.store = KvCodec::kKv16;
  out.push_back({"plain rounding, 16-bit cache", wide, steps});
  if (scheme.store != KvCodec::kKv16) out.push_back({fmt::format("+ {}", to_string(scheme.store)), scheme, steps});
  const auto add = [&](const char* name, bool QuantSteps::*step) {
    if (!(recipe.steps.*step)) return;
    steps.*step = true;
    out.push_back({fmt::format("+ {}", name), scheme, steps});
  };
  // Rotation pays where rounding's errors are made up for, so that comes first (docs/quantization.md).
  add("compensate", &QuantSteps::compensate);
  if (rotates) add("rotate", &QuantSteps::rotate);
  add("rotate-values", &QuantSteps::rotate_values);
  add("center-keys", &QuantSteps::center_keys);
  add("smooth-attention", &QuantSteps::smooth_attention);
  add("compensate-keys", &QuantSteps::compensate_keys);
  if (grouped) {
    scheme.group = recipe.scheme.group;
    out.push_back({fmt::format("+ groups of {}", scheme.group), scheme, steps});
  }
  if (!rotates) add("smooth-inputs", &QuantSteps::smooth_inputs);
  if (!rotates) add("turn-inputs", &QuantSteps::turn_inputs);
  add("smooth-outputs", &QuantSteps::smooth_outputs);
  add("turn-gated", &QuantSteps::turn_gated);
  add("reorder", &QuantSteps::reorder);
  add("clip", &QuantSteps::clip);
  add("sequential", &QuantSteps::sequential);
  return out;
}

Result<std::vector<float>> score_stop(ModelQuantizer& quantizer, const QuantizeRun& recipe, const Stop& stop,
                                      const LadderText& text, int threads, const Console& console) {
  QuantizeRun run = recipe;
  run.scheme = stop.scheme;
  run.steps = stop.steps;
  if (stop.scheme.store == KvCodec::kKv16) run.store.clear();
  run.output = recipe.output.string() + ".rung";
  ProgressBar bar(stop.name, ProgressUnit::kShare, console.err);
  run.on_share = [&](double share) { bar.update(static_cast<uint64_t>(share * 1000), 1000); };
  const Result<QuantizeSummary> made = quantizer.run(run);
  bar.clear();
  std::error_code ignored;
  if (!made.ok()) {  // an interrupted rung is cheap to make again
    std::filesystem::remove_all(run.output.string() + ".unfinished", ignored);
    return made.error();
  }
  Result<std::vector<float>> nll = score_model(run.output, "dense", "int16", text, threads, console);
  std::filesystem::remove(run.output, ignored);
  return nll;
}

}  // namespace

Status Ladder::climb(const std::filesystem::path& model) {
  LOCI_TRY(own_, score_model(model, "store=kv16", "f32", text_, threads_, console_));
  before_ = own_;
  rungs_ = {{.name = "the model, 16 bits", .scheme = "w16a16kv16", .steps = "none", .mean_nll = mean_of(own_)}};
  const std::vector<Stop> stops = stops_to(recipe_, recipe_.steps.rotate && quantizer_.can_rotate());
  for (const Stop& stop : std::span(stops).first(stops.size() - 1)) {
    LOCI_TRY(std::vector<float> nll, score_stop(quantizer_, recipe_, stop, text_, threads_, console_));
    add(stop.name, stop.scheme, stop.steps, std::move(nll));
  }
  last_ = stops.back().name;
  return {};
}

Status Ladder::arrive() {
  LOCI_TRY(std::vector<float> nll, score_model(recipe_.output, "dense", "int16", text_, threads_, console_));
  add(last_, recipe_.scheme, recipe_.steps, std::move(nll));
  return {};
}

void Ladder::add(const std::string& name, const QuantScheme& scheme, const QuantSteps& steps, std::vector<float> nll) {
  const double mean = mean_of(nll);
  rungs_.push_back({.name = name,
                    .scheme = scheme.name(),
                    .group = scheme.group == 0 ? "channel" : fmt::format("{}", scheme.group),
                    .steps = steps.names(),
                    .mean_nll = mean,
                    .rise = std::exp(mean - mean_of(own_)) - 1,
                    .noise = standard_error(nll, before_)});
  before_ = std::move(nll);
}

std::string ladder_table(const std::vector<Rung>& rungs) {
  TextTable table({{"recipe"}, {"scheme"}, {"group"}, {"perplexity", true}, {"over 16 bits", true}, {"noise", true}});
  for (const Rung& rung : rungs) {
    const bool first = &rung == rungs.data();
    table.add({rung.name, rung.scheme, rung.group, fmt::format("{:.3f}", std::exp(rung.mean_nll)),
               first ? "" : fmt::format("{:+.2f}%", 100 * rung.rise),
               first ? "" : fmt::format("{:.2f}%", 100 * rung.noise)});
  }
  return table.text();
}

}  // namespace loci
