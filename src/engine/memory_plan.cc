#include "engine/memory_plan.h"

#include <algorithm>

#include "base/checked.h"
#include "base/memory.h"
#include "io/profile.h"

namespace loci {
namespace {

constexpr uint64_t kLogitBytes = uint64_t{16} << 20;
constexpr uint32_t kMostLogitRows = 64;
constexpr uint32_t kMostPassRows = 1u << 16;

Result<Chunking> cut_prompts(const AttentionPlan& attention, uint32_t chunk, uint32_t context) {
  const uint64_t cell = attention.cell(Phase::kPrefill);
  const uint64_t lookback = attention.lookback();
  if (cell > kMostPassRows || lookback > kMostPassRows) {
    return fail(ErrorCode::kLimit,
                "the plan decides on {} tokens at a time and looks back at {}, but a pass holds at most {}; choose "
                "methods with smaller cells",
                cell, lookback, kMostPassRows);
  }
  Chunking out;
  out.cell = static_cast<uint32_t>(cell);
  out.lookback = static_cast<uint32_t>(lookback);
  // A context shorter than a cell is read in one pass.
  out.chunk = std::min(context, static_cast<uint32_t>(round_up(std::max(chunk, out.lookback), out.cell)));
  return out;
}

// Needs everything of `out` that is known before the stages.
Status make_stages(const ModelMeasure& model, const std::string& fingerprint, EngineLayout& out) {
  const ModelConfig& config = model.config;
  ModelShape shape{.layers = config.layers,
                   .query_heads = config.query_heads,
                   .kv_heads = config.kv_heads,
                   .head_dim = config.head_dim,
                   .score_scale = config.score_scale,
                   .windows = {},
                   .fingerprint = fingerprint};
  for (uint32_t i = 0; i < config.layers; ++i) shape.windows.push_back(config.layer_window(i));
  const MethodContext context{
      .model = shape, .context = out.context, .profile = [&](std::string_view kind, const std::string& name) {
        return find_profile(std::string(kind), name, fingerprint);
      }};
  LOCI_TRY(Stages stages, Stages::make(out.attention, shape, context));
  out.stages = std::make_shared<const Stages>(std::move(stages));
  return {};
}

}  // namespace

uint64_t sequence_bytes(const EngineLayout& layout, uint32_t prompt, uint32_t total) {
  return layout.stages->page_bytes(layout.layers, prompt, total, layout.chunking.most_span());
}

Result<Activations> parse_activations(const std::string& name) {
  if (name == "int16") return Activations::kInt16;
  if (name == "int8") return Activations::kInt8;
  if (name == "f32") return Activations::kF32;
  return fail(ErrorCode::kInvalidArgument, "unknown activations '{}'; use int16, int8 or f32", name);
}

Result<EngineLayout> lay_out(const ModelMeasure& model, const std::string& fingerprint, const EngineOptions& options,
                             int threads) {
  const ModelConfig& config = model.config;
  EngineLayout out;
  LOCI_TRY(out.attention, AttentionPlan::parse(options.attention));
  LOCI_CHECK(
      out.attention.check({.layers = config.layers, .kv_heads = config.kv_heads, .query_heads = config.query_heads}));
  LOCI_TRY(out.activations, parse_activations(options.activations));
  out.context = options.context == 0 ? config.trained_context : options.context;
  if (out.context > config.trained_context) {
    return fail(ErrorCode::kLimit,
                "a context of {} tokens was asked for, but the model was trained for {}; ask for at most that",
                out.context, config.trained_context);
  }
  if (options.chunk == 0 || options.chunk > kMostPassRows) {
    return fail(ErrorCode::kInvalidArgument, "the chunk is {} tokens, but must lie in 1..{}", options.chunk,
                kMostPassRows);
  }
  if (options.batch == 0 || options.batch > kMostPassRows) {
    return fail(ErrorCode::kInvalidArgument, "the batch is {} sequences, but must lie in 1..{}", options.batch,
                kMostPassRows);
  }
  out.batch = options.batch;
  LOCI_TRY(out.chunking, cut_prompts(out.attention, options.chunk, out.context));
  out.pass_rows = out.chunking.most_rows() + out.batch;
  out.logit_rows = static_cast<uint32_t>(
      std::clamp<uint64_t>(kLogitBytes / (uint64_t{config.vocabulary} * sizeof(float)), 1, kMostLogitRows));
  LOCI_CHECK(make_stages(model, fingerprint, out));
  for (uint32_t i = 0; i < config.layers; ++i) {
    out.layers.push_back({.kv_heads = config.kv_heads,
                          .head_dim = config.head_dim,
                          .codec = out.attention.codec(LayerId{i}),
                          .window = config.layer_window(i),
                          .classes = out.stages->classes(LayerId{i})});
  }
  out.work =
      Executor::plan({.rows = out.pass_rows,
                      .reads = out.batch,
                      .slots = out.context,
                      .query_heads = config.query_heads,
                      .kv_heads = config.kv_heads,
                      .head_dim = config.head_dim,
                      .precision = out.activations == Activations::kF32 ? ReadPrecision::kFp32 : ReadPrecision::kFast},
                     threads);
  MemoryPlan& memory = out.memory;
  memory.weights_bytes = model.weights_bytes;
  memory.kv_bytes = out.batch * sequence_bytes(out, out.context, out.context);
  out.fork_bytes = out.batch * CacheLayout::sequence_bytes(out.layers, kPageSlots, kPageSlots);
  const StageBounds prompt{.rows = out.chunking.most_rows(), .tokens = out.context, .threads = threads};
  const StageBounds step{.rows = 1, .tokens = out.context, .threads = threads};
  memory.state_bytes = out.batch * out.stages->state_bytes(step);
  memory.scratch_bytes = Model::scratch_bytes(
      config, out.pass_rows, out.logit_rows, threads,
      out.work.scratch_bytes + out.stages->scratch_bytes(prompt) + out.batch * out.stages->scratch_bytes(step));
  memory.scratch_bytes += out.fork_bytes;
  memory.total_bytes = memory.weights_bytes + memory.kv_bytes + memory.state_bytes + memory.scratch_bytes;
  memory.available_bytes = options.memory_limit_bytes > 0 ? options.memory_limit_bytes : available_memory_bytes();
  memory.fits = memory.total_bytes <= memory.available_bytes;
  return out;
}

}  // namespace loci
