#include "calibrate/quantize/quantizer.h"

#include <algorithm>

#include "calibrate/quantize/sequential.h"
#include "engine/fingerprint.h"
#include "model/model.h"
#include "ops/turn.h"
#include "tensor/row_scaled.h"

namespace loci {
namespace {

// Of a run's time, about: the reading of the text against the rest.
constexpr double kReadingShare = 0.4;
constexpr size_t kFoldingSequences = 8;

// What a model's shape leaves out.
std::string notes_of(const ModelFile& file, const ModelConfig& config, const QuantizeRun& run) {
  std::string out;
  const auto note = [&](std::string text) { out += (out.empty() ? "" : "; ") + std::move(text); };
  if (run.steps.rotate && file.find("blk.0.post_attention_norm.weight") != nullptr) {
    note("no rotation: the norms behind a layer's blocks do not commute with it");
  } else if (run.steps.rotate && (run.steps.turn_inputs || run.steps.smooth_inputs)) {
    note("inputs are neither smoothed nor turned behind norms: the stream is rotated");
  }
  std::vector<uint64_t> seen;
  for (const uint64_t columns : {uint64_t{config.hidden}, uint64_t{config.q_width()}, uint64_t{config.ffn}}) {
    if (std::find(seen.begin(), seen.end(), columns) != seen.end()) continue;
    seen.push_back(columns);
    const bool turns = columns == config.ffn ? run.steps.turn_gated : columns == config.hidden && run.steps.turn_inputs;
    if (turns && !InputTurn::fits(static_cast<uint32_t>(columns))) {
      note(fmt::format("inputs of {} columns are not turned: their odd factor is {}", columns, odd_factor(columns)));
    }
    const std::optional<DType> dtype = run.scheme.weight_format(columns);
    if (!dtype) {
      note(fmt::format("rows of {} columns stay f16: they are no whole blocks of 32", columns));
    } else if (is_row_scaled(*dtype) && run.scheme.weight_bits == 4 && step_group(*dtype) != run.scheme.group) {
      note(fmt::format("rows of {} columns have groups of {}", columns, step_group(*dtype)));
    }
  }
  return out;
}

// How the cache of each layer is stored.
Result<AttentionPlan> store_plan(const QuantizeRun& run, const ModelConfig& config) {
  const std::string text = run.store.empty() ? std::string(to_string(run.scheme.store)) : run.store;
  LOCI_TRY(AttentionPlan plan, AttentionPlan::parse(fmt::format("store={}", text)));
  LOCI_CHECK(plan.check({.layers = config.layers, .kv_heads = config.kv_heads, .query_heads = config.query_heads}));
  return plan;
}

std::string store_text(const AttentionPlan& store) {
  return store.dense(Stage::kStore) ? "store=kv16" : store.canonical();
}

}  // namespace

uint64_t CalibrationText::tokens() const {
  uint64_t out = 0;
  for (const std::vector<TokenId>& sequence : sequences) out += sequence.size();
  return out;
}

Result<std::unique_ptr<ModelQuantizer>> ModelQuantizer::open(const std::filesystem::path& path, CalibrationText text,
                                                             int threads, std::function<bool(double share)> on_load) {
  auto out = std::unique_ptr<ModelQuantizer>(new ModelQuantizer());
  LOCI_TRY(out->file_, open_model_file(path));
  LOCI_TRY(const ModelMeasure measure, Model::measure(*out->file_, Activations::kInt16));
  if (out->file_->metadata().find("loci.quantize.scheme") != nullptr) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is quantized already; quantize the model that it was made from",
                path.string());
  }
  out->config_ = measure.config;
  out->fingerprint_ = model_fingerprint(*out->file_);
  out->text_ = std::move(text);
  if (out->text_.sequences.empty()) {
    out->own_pool_ = std::make_unique<ThreadPool>(threads);
    return out;
  }
  EngineOptions options;
  options.threads = threads;
  options.context = static_cast<uint32_t>(out->text_.sequences.front().size());
  options.chunk = options.context;  // sums do not depend on what else a user asks for
  options.on_load = std::move(on_load);
  LOCI_TRY(out->subject_, Subject::load(path, std::move(options)));
  return out;
}

bool ModelQuantizer::can_rotate() const { return file_->find("blk.0.post_attention_norm.weight") == nullptr; }

std::string ModelQuantizer::identity(const QuantizeRun& run, const AttentionPlan& store) const {
  return fmt::format("{} {} group {} steps {} {} text {} x {} in {}", fingerprint_, run.scheme.name(), run.scheme.group,
                     run.steps.names(), store.canonical(), text_.name, text_.tokens(), text_.sequences.size());
}

Result<LayerStatistics> ModelQuantizer::statistics(uint32_t layer, const QuantizeRun& run,
                                                   const std::function<void(double)>& on_share) {
  // Where the layers are followed, their inputs are measured again; folding is content with fewer.
  const size_t wanted = std::min(run.steps.sequential ? kFoldingSequences : SIZE_MAX, text_.sequences.size());
  if (wanted != measured_sequences_ || layer < first_measured_ || layer >= first_measured_ + measured_.size()) {
    const uint64_t most = std::max<uint64_t>(1, kStatisticsBytes / statistics_bytes(config_));
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(most, config_.layers - layer));
    measured_.clear();
    std::vector<std::vector<TokenId>> sequences;  // evenly from the text
    for (size_t i = 0; i < wanted; ++i) sequences.push_back(text_.sequences[i * text_.sequences.size() / wanted]);
    LOCI_TRY(measured_, measure_layers(*subject_, sequences, layer, count, run.cancelled, on_share));
    first_measured_ = layer;
    measured_sequences_ = wanted;
  }
  return measured_[layer - first_measured_];
}

Status ModelQuantizer::quantize_layers(const QuantizeRun& run, const AttentionPlan& store, const ModelConfig& config,
                                       const PartFolder& parts, const Rotation* rotation, QuantizeSummary& summary) {
  ThreadPool& pool = subject_ != nullptr ? subject_->core().threads() : *own_pool_;
  const bool reads = run.steps.need_statistics();
  std::unique_ptr<SequentialInputs> inputs;
  if (run.steps.sequential) {
    LOCI_TRY(inputs, SequentialInputs::make(*subject_, config, text_.sequences, rotation, store_text(store),
                                            run.scheme.activation_bits));
  }
  double read_share = 0;
  for (uint32_t i = 0; i < config_.layers; ++i) {
    const auto share = [&](double done) {
      run.on_share(std::min(1.0, done * (reads ? 1 - kReadingShare : 1.0) + read_share * kReadingShare));
    };
    if (run.cancelled && run.cancelled()) return fail(ErrorCode::kCancelled, "quantization was stopped");
    LOCI_TRY(const bool finished, parts.has(LayerId(i)));
    if (finished) ++summary.resumed;
    if (finished && inputs == nullptr) continue;
    LayerUnderWork layer;
    if (reads) {
      LOCI_TRY(layer.seen, statistics(i, run, [&](double done) {
                 read_share = std::max(read_share, done);
                 share(static_cast<double>(i) / config_.layers);
               }));
    }
    LOCI_TRY(layer.weights, read_layer(*file_, config_, LayerId(i)));
    LayerRecipe recipe{.config = config, .scheme = run.scheme, .steps = run.steps, .rotation = rotation};
    recipe.scheme.store = store.codec(LayerId(i));
    if (finished) {
      LOCI_TRY(const LayerPart part, parts.open(LayerId(i)));
      LOCI_CHECK(pass_layer(std::move(layer), LayerId(i), recipe, *part.file, *inputs, run.cancelled, pool));
    } else {
      LOCI_TRY(const QuantizedLayer quantized,
               quantize_layer(std::move(layer), LayerId(i), recipe, inputs.get(), run.cancelled, pool));
      LOCI_CHECK(parts.write(LayerId(i), quantized));
    }
    share(static_cast<double>(i + 1) / config_.layers);
  }
  return {};
}

Result<QuantizeSummary> ModelQuantizer::run(const QuantizeRun& run) {
  if (run.steps.need_statistics() && subject_ == nullptr) {
    return fail(ErrorCode::kInvalidArgument, "the steps {} need a calibration text", run.steps.names());
  }
  LOCI_TRY(const AttentionPlan store, store_plan(run, config_));
  QuantizeSummary summary;
  summary.notes = notes_of(*file_, config_, run);
  std::optional<Rotation> rotation;
  if (run.steps.rotate && can_rotate()) rotation.emplace(config_.hidden);
  ModelConfig config = config_;
  config.turns_inputs = run.steps.turn_inputs && !rotation && InputTurn::fits(config.hidden);
  config.turns_gated = run.steps.turn_gated && InputTurn::fits(config.ffn);
  const PartFolder parts(run.output, identity(run, store));
  LOCI_CHECK(quantize_layers(run, store, config, parts, rotation ? &*rotation : nullptr, summary));
  const Provenance provenance{.scheme = run.scheme,
                              .steps = run.steps,
                              .store = store_text(store),
                              .notes = summary.notes,
                              .fingerprint = fingerprint_,
                              .command = run.command,
                              .text = run.steps.need_statistics() ? text_.name : "",
                              .tokens = run.steps.need_statistics() ? text_.tokens() : 0};
  ThreadPool& pool = subject_ != nullptr ? subject_->core().threads() : *own_pool_;
  LOCI_CHECK(assemble(*file_, config, parts, {.dtype = run.embeddings, .rotation = rotation ? &*rotation : nullptr},
                      provenance, run.output, pool));
  parts.remove();
  return summary;
}

}  // namespace loci
