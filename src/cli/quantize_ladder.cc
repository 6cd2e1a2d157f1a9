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

Result<std::vector<Rung>> climb(ModelQuantizer& quantizer, const QuantizeRun& recipe,
                                const std::filesystem::path& model, const LadderText& text, int threads,
                                const Console& console) {
  LOCI_TRY(const std::vector<float> own, score_model(model, "store=kv16", "f32", text, threads, console));
  std::vector<Rung> out{
      {.name = "the model, 16 bits", .scheme = "w16a16kv16", .steps = "none", .mean_nll = mean_of(own)}};
  std::vector<float> before = own;
  for (const Stop& stop : stops_to(recipe, recipe.steps.rotate && quantizer.can_rotate())) {
    LOCI_TRY(std::vector<float> nll, score_stop(quantizer, recipe, stop, text, threads, console));
    const double mean = mean_of(nll);
    out.push_back({.name = stop.name,
                   .scheme = stop.scheme.name(),
                   .group = stop.scheme.group == 0 ? "channel" : fmt::format("{}", stop.scheme.group),
                   .steps = stop.steps.names(),
                   .mean_nll = mean,
                   .rise = std::exp(mean - mean_of(own)) - 1,
                   .noise = standard_error(nll, before)});
    before = std::move(nll);
  }
  return out;
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
