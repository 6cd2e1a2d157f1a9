#include "engine/c_structs.h"

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace loci {

static_assert(std::is_same_v<loci_token, TokenId>);

loci_code to_c(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return LOCI_INVALID_ARGUMENT;
    case ErrorCode::kNotFound:
      return LOCI_NOT_FOUND;
    case ErrorCode::kCorrupt:
      return LOCI_CORRUPT;
    case ErrorCode::kUnsupported:
      return LOCI_UNSUPPORTED;
    case ErrorCode::kLimit:
      return LOCI_LIMIT;
    case ErrorCode::kIo:
      return LOCI_IO;
    case ErrorCode::kCancelled:
      return LOCI_CANCELLED;
    case ErrorCode::kInternal:
      return LOCI_INTERNAL;
  }
  return LOCI_INTERNAL;
}

namespace {

loci_finish to_c(Finish finish) {
  switch (finish) {
    case Finish::kLength:
      return LOCI_FINISH_LENGTH;
    case Finish::kEnd:
      return LOCI_FINISH_END;
    case Finish::kStop:
      return LOCI_FINISH_STOP;
    case Finish::kCancelled:
      return LOCI_FINISH_CANCELLED;
  }
  return LOCI_FINISH_LENGTH;
}

}  // namespace

Status require(const void* pointer, const char* name) {
  if (pointer != nullptr) return {};
  return fail(ErrorCode::kInvalidArgument, "the argument '{}' is NULL", name);
}

loci_engine_options default_options() {
  const EngineOptions d;
  return {.struct_size = sizeof(loci_engine_options),
          .threads = d.threads,
          .context = d.context,
          .batch = d.batch,
          .chunk = d.chunk,
          .attention = nullptr,
          .isa = nullptr,
          .activations = nullptr,
          .memory_limit_bytes = d.memory_limit_bytes,
          .prefix_cache = d.prefix_cache ? 1 : 0,
          .on_load = nullptr,
          .on_load_user = nullptr};
}

loci_request default_request() {
  const Request d;
  return {.struct_size = sizeof(loci_request),
          .prompt = nullptr,
          .prompt_count = 0,
          .max_new_tokens = d.max_new_tokens,
          .temperature = d.sampling.temperature,
          .top_k = d.sampling.top_k,
          .top_p = d.sampling.top_p,
          .min_p = d.sampling.min_p,
          .repetition_penalty = d.sampling.repetition_penalty,
          .repetition_window = d.sampling.repetition_window,
          .seed = d.sampling.seed,
          .stop = nullptr,
          .stop_count = 0,
          .ignore_eos = 0,
          .cancel = nullptr,
          .on_text = nullptr,
          .on_progress = nullptr,
          .user = nullptr};
}

Result<EngineOptions> from_c(const loci_engine_options* given) {
  EngineOptions out;
  if (given == nullptr) return out;
  LOCI_TRY(const auto c, read_struct(given, default_options(), "loci_engine_options"));
  out.threads = c.threads;
  out.context = c.context;
  out.batch = c.batch;
  out.chunk = c.chunk;
  if (c.attention != nullptr) out.attention = c.attention;
  if (c.isa != nullptr) out.isa = c.isa;
  if (c.activations != nullptr) out.activations = c.activations;
  out.memory_limit_bytes = c.memory_limit_bytes;
  out.prefix_cache = c.prefix_cache != 0;
  if (c.on_load != nullptr) {
    out.on_load = [call = c.on_load, user = c.on_load_user](double share) { return call(share, user) == 0; };
  }
  return out;
}

Result<Request> from_c(const loci_request* given) {
  LOCI_TRY(const auto c, read_struct(given, default_request(), "loci_request"));
  LOCI_TRY(const auto prompt, array(c.prompt, c.prompt_count, "prompt"));
  LOCI_TRY(const auto stop, array(c.stop, c.stop_count, "stop"));
  Request out;
  out.prompt.assign(prompt.begin(), prompt.end());
  out.max_new_tokens = c.max_new_tokens;
  out.sampling = {.temperature = c.temperature,
                  .top_k = c.top_k,
                  .top_p = c.top_p,
                  .min_p = c.min_p,
                  .repetition_penalty = c.repetition_penalty,
                  .repetition_window = c.repetition_window,
                  .seed = c.seed};
  for (const char* text : stop) {
    LOCI_CHECK(require(text, "stop[i]"));
    out.stop.emplace_back(text);
  }
  out.ignore_eos = c.ignore_eos != 0;
  out.cancelled = c.cancel == nullptr ? nullptr : &c.cancel->set;
  if (c.on_text != nullptr) {
    out.on_text = [call = c.on_text, user = c.user](std::string_view text) {
      const std::string terminated(text);
      call(terminated.c_str(), terminated.size(), user);
    };
  }
  if (c.on_progress != nullptr) {
    out.on_progress = [call = c.on_progress, user = c.user](const Progress& p) {
      const loci_progress progress{p.prompt_done, p.prompt_total, p.generated, p.seconds};
      call(&progress, user);
    };
  }
  return out;
}

loci_memory_plan to_c(const MemoryPlan& p) {
  return {.struct_size = sizeof(loci_memory_plan),
          .weights_bytes = p.weights_bytes,
          .kv_bytes = p.kv_bytes,
          .state_bytes = p.state_bytes,
          .scratch_bytes = p.scratch_bytes,
          .total_bytes = p.total_bytes,
          .available_bytes = p.available_bytes,
          .fits = p.fits ? 1 : 0};
}

loci_model_info to_c(const ModelInfo& m) {
  return {.struct_size = sizeof(loci_model_info),
          .name = m.name.c_str(),
          .architecture = m.architecture.c_str(),
          .format = m.format.c_str(),
          .attention = m.attention.c_str(),
          .tokenizer = m.tokenizer.c_str(),
          .parameters = m.parameters,
          .layers = m.layers,
          .hidden = m.hidden,
          .query_heads = m.query_heads,
          .kv_heads = m.kv_heads,
          .head_dim = m.head_dim,
          .vocabulary = m.vocabulary,
          .trained_context = m.trained_context,
          .context = m.context,
          .has_chat_template = m.has_chat_template ? 1 : 0,
          .weights_bytes = m.weights_bytes,
          .kv_bytes_per_token = m.kv_bytes_per_token};
}

loci_completion* to_c(Completion completion) {
  auto out = std::make_unique<OwnedCompletion>();
  out->owned = std::move(completion);
  const Completion& c = out->owned;
  static_cast<loci_completion&>(*out) = {.text = c.text.c_str(),
                                         .text_bytes = c.text.size(),
                                         .tokens = c.tokens.data(),
                                         .token_count = c.tokens.size(),
                                         .finish = to_c(c.finish),
                                         .prompt_tokens = c.prompt_tokens,
                                         .cached_tokens = c.cached_tokens,
                                         .prefill_seconds = c.prefill_seconds,
                                         .decode_seconds = c.decode_seconds,
                                         .decode_steps = c.decode_steps,
                                         .kv_bytes = c.kv_bytes,
                                         .kept_tokens = c.kept_tokens};
  return out.release();
}

}  // namespace loci
