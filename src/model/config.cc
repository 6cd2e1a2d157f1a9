#include "model/config.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {
namespace {

// Larger than any model; small enough that products of two stay far from overflow.
constexpr uint32_t kMaxExtent = 1u << 24;

Status within(const std::string& key, uint32_t value, uint32_t limit) {
  if (value >= 1 && value <= limit) return {};
  return fail(ErrorCode::kCorrupt, "'{}' is {}, but must lie in 1..{}", key, value, limit);
}

Result<uint32_t> extent(const Metadata& metadata, const std::string& key, uint32_t limit = kMaxExtent) {
  LOCI_TRY(const uint32_t value, metadata.u32(key));
  LOCI_CHECK(within(key, value, limit));
  return value;
}

Status read_heads(const Metadata& metadata, const std::string& prefix, ModelConfig& config) {
  LOCI_TRY(config.query_heads, extent(metadata, prefix + "attention.head_count", 4096));
  LOCI_TRY(config.kv_heads, metadata.u32_or(prefix + "attention.head_count_kv", config.query_heads));
  LOCI_CHECK(within(prefix + "attention.head_count_kv", config.kv_heads, config.query_heads));
  if (config.query_heads % config.kv_heads != 0) {
    return fail(ErrorCode::kCorrupt, "{} query heads cannot be shared evenly by {} KV heads", config.query_heads,
                config.kv_heads);
  }
  LOCI_TRY(config.head_dim, metadata.u32_or(prefix + "attention.key_length", config.hidden / config.query_heads));
  LOCI_CHECK(within(prefix + "attention.key_length", config.head_dim, kMaxHeadDim));
  LOCI_TRY(const uint32_t value_dim, metadata.u32_or(prefix + "attention.value_length", config.head_dim));
  if (value_dim != config.head_dim) {
    return fail(ErrorCode::kUnsupported, "keys have {} dimensions and values {}: only equal ones are supported",
                config.head_dim, value_dim);
  }
  return {};
}

// Frequencies of YaRN (arXiv:2309.00071, section 3.2): pairs that turn often over the trained context keep their
// frequency, pairs that turn less than once are slowed by `factor`, a ramp joins them.
RopeFrequencies yarn(double base, uint32_t dims, double factor, double context, double fast, double slow,
                     double attention) {
  RopeFrequencies out = plain_rope(base, dims);
  const auto pair_of = [&](double turns) {
    return dims * std::log(context / (turns * 2.0 * M_PI)) / (2.0 * std::log(base));
  };
  const double low = std::max(0.0, std::floor(pair_of(fast)));
  const double high = std::min(dims - 1.0, std::ceil(pair_of(slow)));
  for (size_t i = 0; i < out.inverse_frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
    double& frequency = out.inverse_frequencies[i];
    frequency = frequency * (1.0 - ramp) + frequency / factor * ramp;
  }
  out.magnitude = attention > 0 ? attention : 0.1 * std::log(factor) + 1.0;
  return out;
}

// Llama 3.1's scaling: wavelengths longer than the trained context / low are slowed by `factor`, shorter than / high
// kept.
void scale_llama3(RopeFrequencies& rope, double factor, double low, double high, double context) {
  for (double& frequency : rope.inverse_frequencies) {
    const double turns = context * frequency / (2.0 * M_PI);
    const double smooth = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    frequency = (1.0 - smooth) * frequency / factor + smooth * frequency;
  }
}

Status apply_factors(const Tensor& factors, RopeFrequencies& rope) {
  if (factors.dtype != DType::kF32 || factors.rows() != 1 || factors.columns() != rope.inverse_frequencies.size()) {
    return fail(ErrorCode::kCorrupt, "tensor '{}' must hold {} fp32 factors", factors.name,
                rope.inverse_frequencies.size());
  }
  std::vector<float> values(factors.columns());
  dequantize_row(DType::kF32, factors.data.data(), values);
  for (size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] > 0))
      return fail(ErrorCode::kCorrupt, "tensor '{}' has a factor that is not positive", factors.name);
    rope.inverse_frequencies[i] /= values[i];
  }
  return {};
}

}  // namespace

RopeFrequencies plain_rope(double base, uint32_t dims) {
  RopeFrequencies out;
  for (uint32_t i = 0; i < dims / 2; ++i) out.inverse_frequencies.push_back(std::pow(base, -2.0 * i / dims));
  return out;
}

Result<RopeFrequencies> read_rope(const ModelFile& file, const std::string& architecture, double base, uint32_t dims,
                                  uint32_t trained_context) {
  const Metadata& metadata = file.metadata();
  const std::string prefix = architecture + ".rope.scaling.";
  RopeFrequencies rope = plain_rope(base, dims);
  if (const Tensor* factors = file.find("rope_freqs.weight")) LOCI_CHECK(apply_factors(*factors, rope));
  LOCI_TRY(const std::string type, metadata.text_or(prefix + "type", "none"));
  LOCI_TRY(const double factor, metadata.number_or(prefix + "factor", 1.0));
  if (!(factor >= 1.0 && factor <= 1e6)) {
    return fail(ErrorCode::kCorrupt, "'{}factor' is {}, but must lie in 1..1000000", prefix, factor);
  }
  LOCI_TRY(const double context, metadata.number_or(prefix + "original_context_length", trained_context));
  if (!(context >= 1.0))
    return fail(ErrorCode::kCorrupt, "'{}original_context_length' is {}, but must be at least 1", prefix, context);
  if (type == "none" || type == "default") return rope;
  if (type == "linear") {
    for (double& frequency : rope.inverse_frequencies) frequency /= factor;
    return rope;
  }
  if (type == "llama3") {
    LOCI_TRY(const double low, metadata.number_or(prefix + "low_freq_factor", 1.0));
    LOCI_TRY(const double high, metadata.number_or(prefix + "high_freq_factor", 4.0));
    if (!(high > low))
      return fail(ErrorCode::kCorrupt, "'{}high_freq_factor' is {}, but must exceed {}", prefix, high, low);
    scale_llama3(rope, factor, low, high, context);
    return rope;
  }
  if (type == "yarn") {
    LOCI_TRY(const double fast, metadata.number_or(prefix + "beta_fast", 32.0));
    LOCI_TRY(const double slow, metadata.number_or(prefix + "beta_slow", 1.0));
    LOCI_TRY(const double attention, metadata.number_or(prefix + "attn_factor", 0.0));
    return yarn(base, dims, factor, context, fast, slow, attention);
  }
  return fail(ErrorCode::kUnsupported, "rope scaling '{}' is not supported; none, linear, llama3 and yarn are", type);
}

Result<ModelConfig> read_config(const ModelFile& file) {
  const Metadata& metadata = file.metadata();
  ModelConfig config;
  LOCI_TRY(config.architecture, metadata.text("general.architecture"));
  LOCI_TRY(config.name, metadata.text_or("general.name", ""));
  const std::string prefix = config.architecture + ".";
  LOCI_TRY(config.layers, extent(metadata, prefix + "block_count", 4096));
  LOCI_TRY(config.hidden, extent(metadata, prefix + "embedding_length"));
  LOCI_TRY(config.ffn, extent(metadata, prefix + "feed_forward_length"));
  LOCI_TRY(config.trained_context, extent(metadata, prefix + "context_length", 1u << 30));
  LOCI_CHECK(read_heads(metadata, prefix, config));
  LOCI_TRY(const double eps, metadata.number(prefix + "attention.layer_norm_rms_epsilon"));
  if (!(eps >= 0.0 && eps < 1.0)) {
    return fail(ErrorCode::kCorrupt, "'{}attention.layer_norm_rms_epsilon' is {}, but must lie in [0, 1)", prefix, eps);
  }
  config.norm_eps = static_cast<float>(eps);
  const Tensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr)
    return fail(ErrorCode::kNotFound, "the file has no tensor 'token_embd.weight': it is no whole model");
  LOCI_CHECK(within("rows of 'token_embd.weight'",
                    static_cast<uint32_t>(std::min<uint64_t>(embedding->rows(), UINT32_MAX)), kMaxExtent));
  config.vocabulary = static_cast<uint32_t>(embedding->rows());

  LOCI_TRY(const uint32_t rope_dims, metadata.u32_or(prefix + "rope.dimension_count", config.head_dim));
  if (rope_dims % 2 != 0 || rope_dims == 0 || rope_dims > config.head_dim) {
    return fail(ErrorCode::kCorrupt, "'{}rope.dimension_count' is {}, but must be even and at most {}", prefix,
                rope_dims, config.head_dim);
  }
  LOCI_TRY(const double base, metadata.number_or(prefix + "rope.freq_base", 10000.0));
  if (!(base > 1.0)) return fail(ErrorCode::kCorrupt, "'{}rope.freq_base' is {}, but must exceed 1", prefix, base);
  LOCI_TRY(RopeFrequencies rope, read_rope(file, config.architecture, base, rope_dims, config.trained_context));
  config.rope.push_back(std::move(rope));
  config.rope_pairing = file.rope_pairing();
  LOCI_TRY(const uint32_t version, metadata.u32_or(kQuantizedVersion, 0));
  if (version > kNewestQuantized) {
    return fail(ErrorCode::kUnsupported, "'{}' is {}: the file was written by a newer Loci; this one reads up to {}",
                kQuantizedVersion, version, kNewestQuantized);
  }
  LOCI_TRY(config.turns_inputs, metadata.flag_or(kTurnsInputs, false));
  LOCI_TRY(config.turns_gated, metadata.flag_or(kTurnsGated, false));
  LOCI_TRY(config.default_store, metadata.text_or(kDefaultStore, ""));
  config.score_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  return config;
}

}  // namespace loci
