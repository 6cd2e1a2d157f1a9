#include "io/hf_rope.h"

#include <array>

#include "io/printable.h"

namespace loci {
namespace {

constexpr double kLlamaTheta = 10'000;  // transformers' default for all but Gemma's full-attention layers
constexpr double kGemmaTheta = 1'000'000;

struct KeyPair {
  std::string_view field;
  std::string_view key;
};

// Writes the numbers that are there under "{architecture}.rope.scaling.".
template <size_t N>
Status copy_numbers(const JsonFields& scaling, const std::array<KeyPair, N>& pairs, std::string_view architecture,
                    Metadata& metadata) {
  for (const KeyPair& pair : pairs) {
    LOCI_TRY(const std::optional<double> value, scaling.number(pair.field));
    if (value) metadata.set(fmt::format("{}.rope.scaling.{}", architecture, pair.key), *value);
  }
  return {};
}

Result<double> required_number(const JsonFields& scaling, std::string_view field, std::string_view type) {
  LOCI_TRY(const std::optional<double> value, scaling.number(field));
  if (!value)
    return fail(ErrorCode::kNotFound, "{} has no '{}', which rope type '{}' needs", scaling.where(), field, type);
  if (*value > 0) return *value;
  return fail(ErrorCode::kCorrupt, "'{}' in {} is {}, it must be above 0", field, scaling.where(), *value);
}

Status read_original_length(const JsonFields& config, const JsonFields& scaling, std::string_view architecture,
                            Metadata& metadata) {
  LOCI_TRY(std::optional<uint32_t> length, scaling.u32("original_max_position_embeddings"));
  if (!length) {
    LOCI_TRY(length, config.u32("original_max_position_embeddings"));
  }
  if (!length) {
    LOCI_TRY(length, config.u32("max_position_embeddings"));
  }
  if (length) metadata.set(fmt::format("{}.rope.scaling.original_context_length", architecture), uint64_t{*length});
  return {};
}

Status read_llama3(const JsonFields& scaling, std::string_view architecture, Metadata& metadata) {
  LOCI_TRY(const double low, required_number(scaling, "low_freq_factor", "llama3"));
  LOCI_TRY(const double high, required_number(scaling, "high_freq_factor", "llama3"));
  if (low >= high) {
    return fail(ErrorCode::kCorrupt,
                "{} has low_freq_factor {} and high_freq_factor {}, the first must be the lower one", scaling.where(),
                low, high);
  }
  metadata.set(fmt::format("{}.rope.scaling.low_freq_factor", architecture), low);
  metadata.set(fmt::format("{}.rope.scaling.high_freq_factor", architecture), high);
  return {};
}

Status read_yarn(const JsonFields& scaling, std::string_view architecture, Metadata& metadata) {
  for (const char* field : {"mscale", "mscale_all_dim"}) {
    if (scaling.find(field) != nullptr) {
      return fail(ErrorCode::kUnsupported, "{} has '{}', which this program does not do", scaling.where(), field);
    }
  }
  LOCI_TRY(const bool truncate, scaling.flag_or("truncate", true));
  if (!truncate) {
    return fail(ErrorCode::kUnsupported, "{} has 'truncate': false, which this program does not do", scaling.where());
  }
  constexpr std::array<KeyPair, 3> kNumbers = {
      {{"attention_factor", "attn_factor"}, {"beta_fast", "beta_fast"}, {"beta_slow", "beta_slow"}}};
  return copy_numbers(scaling, kNumbers, architecture, metadata);
}

Result<std::string> scaling_type(const JsonFields& scaling) {
  LOCI_TRY(std::optional<std::string> type, scaling.text("rope_type"));
  if (!type) {
    LOCI_TRY(type, scaling.text("type"));
  }
  return !type || *type == "default" ? std::string("none") : *type;
}

Status read_scaling(const JsonFields& config, const JsonFields& scaling, std::string_view architecture,
                    Metadata& metadata) {
  LOCI_TRY(const std::string type, scaling_type(scaling));
  if (type != "none" && type != "linear" && type != "llama3" && type != "yarn") {
    return fail(ErrorCode::kUnsupported,
                "{} has the rope type '{}', this program knows default, linear, llama3 and yarn", scaling.where(),
                printable(type));
  }
  LOCI_TRY(const double rotated, scaling.number_or("partial_rotary_factor", 1));
  if (rotated != 1) {
    return fail(ErrorCode::kUnsupported, "{} has partial_rotary_factor {}, this program rotates whole heads",
                scaling.where(), rotated);
  }
  metadata.set(fmt::format("{}.rope.scaling.type", architecture), type);
  if (type == "none") return {};
  LOCI_TRY(const double factor, required_number(scaling, "factor", type));
  metadata.set(fmt::format("{}.rope.scaling.factor", architecture), factor);
  if (type == "linear") return {};
  LOCI_CHECK(read_original_length(config, scaling, architecture, metadata));
  return type == "llama3" ? read_llama3(scaling, architecture, metadata) : read_yarn(scaling, architecture, metadata);
}

Status set_theta(const JsonFields& fields, std::string_view field, double absent, std::string key, Metadata& metadata) {
  LOCI_TRY(const double theta, fields.number_or(field, absent));
  if (theta <= 0) {
    return fail(ErrorCode::kCorrupt, "'{}' in {} is {}, it must be above 0", field, fields.where(), theta);
  }
  metadata.set(std::move(key), theta);
  return {};
}

// transformers 4: everything at the top; the scaling is of the full-attention layers.
Status read_flat(const JsonFields& config, std::string_view architecture, Metadata& metadata) {
  const bool gemma = architecture == "gemma3";
  LOCI_CHECK(set_theta(config, "rope_theta", gemma ? kGemmaTheta : kLlamaTheta,
                       fmt::format("{}.rope.freq_base", architecture), metadata));
  if (gemma) {
    LOCI_CHECK(set_theta(config, "rope_local_base_freq", kLlamaTheta, "gemma3.rope.freq_base_swa", metadata));
  }
  LOCI_TRY(const std::optional<JsonFields> scaling, config.object("rope_scaling"));
  if (scaling) return read_scaling(config, *scaling, architecture, metadata);
  metadata.set(fmt::format("{}.rope.scaling.type", architecture), std::string("none"));
  return {};
}

// transformers 5, one kind of layer.
Status read_parameters(const JsonFields& config, const JsonFields& parameters, std::string_view architecture,
                       Metadata& metadata) {
  LOCI_CHECK(set_theta(parameters, "rope_theta", architecture == "gemma3" ? kGemmaTheta : kLlamaTheta,
                       fmt::format("{}.rope.freq_base", architecture), metadata));
  return read_scaling(config, parameters, architecture, metadata);
}

// transformers 5, Gemma: one set for full attention and one for windows.
Status read_two_kinds(const JsonFields& config, const JsonFields& full, const JsonFields& windows, Metadata& metadata) {
  LOCI_TRY(const std::string type, scaling_type(windows));
  if (type != "none") {
    return fail(ErrorCode::kUnsupported, "{} has the rope type '{}', this program scales full-attention layers only",
                windows.where(), printable(type));
  }
  LOCI_CHECK(set_theta(windows, "rope_theta", kLlamaTheta, "gemma3.rope.freq_base_swa", metadata));
  return read_parameters(config, full, "gemma3", metadata);
}

}  // namespace

Status read_hf_rope(const JsonFields& config, std::string_view architecture, Metadata& metadata) {
  LOCI_TRY(const double rotated, config.number_or("partial_rotary_factor", 1));
  if (rotated != 1) {
    return fail(ErrorCode::kUnsupported, "{} has partial_rotary_factor {}, this program rotates whole heads",
                config.where(), rotated);
  }
  LOCI_TRY(const std::optional<JsonFields> parameters, config.object("rope_parameters"));
  if (!parameters) return read_flat(config, architecture, metadata);
  LOCI_TRY(const std::optional<JsonFields> full, parameters->object("full_attention"));
  LOCI_TRY(const std::optional<JsonFields> windows, parameters->object("sliding_attention"));
  if (architecture != "gemma3" || (!full && !windows)) {
    if (architecture == "gemma3") {
      LOCI_CHECK(set_theta(config, "rope_local_base_freq", kLlamaTheta, "gemma3.rope.freq_base_swa", metadata));
    }
    return read_parameters(config, full ? *full : *parameters, architecture, metadata);
  }
  if (!full || !windows) {
    return fail(ErrorCode::kNotFound, "{} needs both 'full_attention' and 'sliding_attention'", parameters->where());
  }
  return read_two_kinds(config, *full, *windows, metadata);
}

}  // namespace loci
