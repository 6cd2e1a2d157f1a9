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
  out.idle_until = static_cast<uint32_t>(std::min<uint64_t>(attention.idle_until(), context));
  out.idle_chunk = std::min(out.chunk, std::max(chunk, out.lookback));
  return out;
}

Result<Stages> make_stages(const ModelConfig& config, const std::string& fingerprint, uint32_t context,
                           const AttentionPlan& attention) {
  ModelShape shape{.layers = config.layers,
                   .query_heads = config.query_heads,
                   .kv_heads = config.kv_heads,
                   .head_dim = config.head_dim,
                   .score_scale = config.score_scale,
                   .windows = {},
                   .fingerprint = fingerprint,
                   .rotary = {.pairing = config.rope_pairing, .inverse_frequencies = {}}};
  if (!config.rope.empty()) shape.rotary.inverse_frequencies = config.rope[0].inverse_frequencies;
  for (uint32_t i = 0; i < config.layers; ++i) shape.windows.push_back(config.layer_window(i));
  const MethodContext method_context{
      .model = shape, .context = context, .profile = [&](std::string_view kind, const std::string& name) {
        return find_profile(std::string(kind), name, fingerprint);
      }};
  return Stages::make(attention, shape, method_context);
}

}  // namespace

uint64_t sequence_bytes(const PlanLayout& layout, uint32_t prompt, uint32_t total) {
  return layout.stages->page_bytes(layout.layers, prompt, total, layout.chunking.most_span());
}

Result<Activations> parse_activations(const std::string& name) {
  if (name == "int16") return Activations::kInt16;
  if (name == "int8") return Activations::kInt8;
  if (name == "f32") return Activations::kF32;
  return fail(ErrorCode::kInvalidArgument, "unknown activations '{}'; use int16, int8 or f32", name);
}

Result<PlanLayout> lay_out_plan(const ModelConfig& config, const std::string& fingerprint, const std::string& attention,
                                uint32_t context, uint32_t chunk, int threads) {
  PlanLayout out;
  LOCI_TRY(out.attention, AttentionPlan::parse_for_model(attention, config.default_store));
  LOCI_CHECK(
      out.attention.check({.layers = config.layers, .kv_heads = config.kv_heads, .query_heads = config.query_heads}));
  LOCI_TRY(out.chunking, cut_prompts(out.attention, chunk, context));
  LOCI_TRY(Stages stages, make_stages(config, fingerprint, context, out.attention));
  out.stages = std::make_shared<const Stages>(std::move(stages));
  for (uint32_t i = 0; i < config.layers; ++i) {
    out.layers.push_back({.kv_heads = config.kv_heads,
                          .head_dim = config.head_dim,
                          .codec = out.attention.codec(LayerId{i}),
                          .window = config.layer_window(i),
                          .classes = out.stages->classes(LayerId{i})});
  }
  const StageBounds prompt{.rows = out.chunking.most_rows(), .tokens = context, .threads = threads};
  const StageBounds step{.rows = 1, .tokens = context, .threads = threads};
  out.prompt_scratch_bytes = out.stages->scratch_bytes(prompt);
  out.step_scratch_bytes = out.stages->scratch_bytes(step);
  out.state_bytes = out.stages->state_bytes(step);
  out.mixes = out.stages->mixes();
  return out;
}

uint64_t pass_scratch_bytes(const ModelConfig& config, const EngineLayout& layout, uint32_t rows, uint64_t methods,
                            bool mixes) {
  if (mixes) methods += Workspace::bytes_of<float>(size_t{rows} * config.query_heads);
  return Model::scratch_bytes(config, rows, layout.logit_rows, layout.threads, layout.work.scratch_bytes + methods);
}

Result<EngineLayout> lay_out(const ModelMeasure& model, const std::string& fingerprint, const EngineOptions& options,
                             int threads) {
  const ModelConfig& config = model.config;
  EngineLayout out;
  out.threads = threads;
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
  out.chunk = options.chunk;
  out.batch = options.batch;
  LOCI_TRY(static_cast<PlanLayout&>(out),
           lay_out_plan(config, fingerprint, options.attention, out.context, out.chunk, threads));
  out.pass_rows = out.chunking.most_rows() + out.batch;
  out.logit_rows = static_cast<uint32_t>(
      std::clamp<uint64_t>(kLogitBytes / (uint64_t{config.vocabulary} * sizeof(float)), 1, kMostLogitRows));
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
  memory.kv_bytes = options.kv_bytes > 0 ? options.kv_bytes : out.batch * sequence_bytes(out, out.context, out.context);
  out.fork_bytes = out.batch * CacheLayout::sequence_bytes(out.layers, kPageSlots, kPageSlots);
  memory.state_bytes = out.batch * out.state_bytes;
  memory.scratch_bytes = pass_scratch_bytes(config, out, out.pass_rows,
                                            out.prompt_scratch_bytes + out.batch * out.step_scratch_bytes, out.mixes);
  memory.scratch_bytes += out.fork_bytes;
  memory.total_bytes = memory.weights_bytes + memory.kv_bytes + memory.state_bytes + memory.scratch_bytes;
  memory.available_bytes = options.memory_limit_bytes > 0 ? options.memory_limit_bytes : available_memory_bytes();
  memory.fits = memory.total_bytes <= memory.available_bytes;
  return out;
}

}  // namespace loci
