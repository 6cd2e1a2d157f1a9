#include "io/hf_config.h"

#include <algorithm>
#include <array>
#include <vector>

#include "io/bounded_json.h"
#include "io/hf_rope.h"
#include "io/json_fields.h"
#include "io/printable.h"

namespace loci {
namespace {

// What transformers assumes where a config.json is silent. 0: the file must say.
struct Family {
  std::string_view model_type;
  std::string_view architecture;
  uint32_t head_dim = 0;  // 0: embedding length / heads
  uint32_t heads = 0;
  uint32_t kv_heads = 0;  // 0: as many as heads
  uint32_t context_length = 0;
  uint32_t vocab_size = 0;
};

constexpr std::array<Family, 6> kFamilies = {{
    {.model_type = "llama", .architecture = "llama"},
    {.model_type = "mistral", .architecture = "llama", .kv_heads = 8},
    {.model_type = "qwen2", .architecture = "qwen2"},
    {.model_type = "qwen3", .architecture = "qwen3", .head_dim = 128},
    {"gemma3", "gemma3", 256, 8, 4, 131'072, 262'208},
    {"gemma3_text", "gemma3", 256, 8, 4, 131'072, 262'208},
}};

Result<Family> find_family(const JsonFields& config) {
  LOCI_TRY(const std::string type, config.text_or("model_type", ""));
  const auto* family =
      std::find_if(kFamilies.begin(), kFamilies.end(), [&](const Family& f) { return f.model_type == type; });
  if (family != kFamilies.end()) return *family;
  return fail(ErrorCode::kUnsupported,
              "{} has model_type '{}', this program knows llama, mistral, qwen2, qwen3, gemma3 and gemma3_text",
              config.where(), printable(type));
}

// Settings that change what the model computes and that Loci does not have.
Status refuse_unsupported(const JsonFields& config, const Family& family) {
  for (const char* field :
       {"quantization_config", "attn_logit_softcapping", "final_logit_softcapping", "num_local_experts"}) {
    if (config.find(field) != nullptr) {
      return fail(ErrorCode::kUnsupported, "{} has '{}', which this program does not do", config.where(), field);
    }
  }
  for (const char* field : {"use_sliding_window", "use_bidirectional_attention"}) {
    LOCI_TRY(const bool on, config.flag_or(field, false));
    if (on)
      return fail(ErrorCode::kUnsupported, "{} has '{}': true, which this program does not do", config.where(), field);
  }
  const bool gemma = family.architecture == "gemma3";
  const char* field = gemma ? "hidden_activation" : "hidden_act";
  const std::string_view wanted = gemma ? "gelu_pytorch_tanh" : "silu";
  LOCI_TRY(const std::string activation, config.text_or(field, std::string(wanted)));
  if (activation == wanted) return {};
  return fail(ErrorCode::kUnsupported, "{} has '{}': '{}', this program does {} for {}", config.where(), field,
              printable(activation), wanted, family.architecture);
}

class ConfigReader {
 public:
  ConfigReader(const JsonFields& config, const Family& family, Metadata& metadata)
      : config_(config), family_(family), metadata_(metadata) {}

  Status read() {
    metadata_.set("general.architecture", std::string(family_.architecture));
    LOCI_CHECK(read_sizes());
    LOCI_CHECK(read_heads());
    LOCI_CHECK(read_windows());
    return read_hf_rope(config_, family_.architecture, metadata_);
  }

 private:
  std::string key(std::string_view rest) const { return fmt::format("{}.{}", family_.architecture, rest); }
  void set(std::string_view rest, uint32_t value) { metadata_.set(key(rest), uint64_t{value}); }

  Result<uint32_t> positive(std::string_view field, uint32_t absent) const {
    LOCI_TRY(const uint32_t value, absent == 0 ? config_.required_u32(field) : config_.u32_or(field, absent));
    if (value > 0) return value;
    return fail(ErrorCode::kCorrupt, "'{}' in {} is 0, it must be at least 1", field, config_.where());
  }

  Status read_sizes() {
    LOCI_TRY(layers_, positive("num_hidden_layers", 0));
    LOCI_TRY(hidden_, positive("hidden_size", 0));
    LOCI_TRY(const uint32_t context, positive("max_position_embeddings", family_.context_length));
    LOCI_TRY(const uint32_t inner, positive("intermediate_size", 0));
    LOCI_TRY(const uint32_t vocabulary, positive("vocab_size", family_.vocab_size));
    LOCI_TRY(const double epsilon, config_.number_or("rms_norm_eps", 1e-6));
    set("block_count", layers_);
    set("embedding_length", hidden_);
    set("context_length", context);
    set("feed_forward_length", inner);
    set("vocab_size", vocabulary);
    metadata_.set(key("attention.layer_norm_rms_epsilon"), epsilon);
    return {};
  }

  Status read_heads() {
    LOCI_TRY(const uint32_t heads, positive("num_attention_heads", family_.heads));
    LOCI_TRY(const uint32_t kv_heads, positive("num_key_value_heads", family_.kv_heads ? family_.kv_heads : heads));
    LOCI_TRY(std::optional<uint32_t> head_dim, config_.u32("head_dim"));
    if (!head_dim && family_.head_dim != 0) head_dim = family_.head_dim;
    if (!head_dim && hidden_ % heads != 0) {
      return fail(ErrorCode::kCorrupt,
                  "{} has no head_dim, and hidden_size {} is no multiple of num_attention_heads {}", config_.where(),
                  hidden_, heads);
    }
    const uint32_t dim = head_dim ? *head_dim : hidden_ / heads;
    if (dim == 0) return fail(ErrorCode::kCorrupt, "'head_dim' in {} is 0, it must be at least 1", config_.where());
    set("attention.head_count", heads);
    set("attention.head_count_kv", kv_heads);
    set("attention.key_length", dim);
    set("attention.value_length", dim);
    set("rope.dimension_count", dim);
    return {};
  }

  // Gemma: every n-th layer attends to everything, the others to a window. Mistral: a window in all layers.
  Status read_windows() {
    if (family_.architecture != "gemma3") {
      LOCI_CHECK(check_layers_are_full());
      if (family_.model_type != "mistral") return {};
      LOCI_TRY(const std::optional<uint32_t> window, config_.u32("sliding_window"));
      if (window) set("attention.sliding_window", *window);
      return {};
    }
    LOCI_TRY(const uint32_t window, positive("sliding_window", 4096));
    LOCI_TRY(const uint32_t pattern, window_pattern());
    LOCI_TRY(const double scalar, config_.number_or("query_pre_attn_scalar", 256));
    if (scalar <= 0) {
      return fail(ErrorCode::kCorrupt, "'query_pre_attn_scalar' in {} is {}, it must be above 0", config_.where(),
                  scalar);
    }
    set("attention.sliding_window", window);
    set("attention.sliding_window_pattern", pattern);
    metadata_.set(key("attention.query_pre_attn_scalar"), scalar);
    return {};
  }

  // "layer_types" as flags: full attention or not. Empty if the file has none.
  Result<std::vector<bool>> full_layers() const {
    const nlohmann::json* types = config_.find("layer_types");
    if (types == nullptr) return std::vector<bool>();
    if (!types->is_array() || types->size() != layers_) {
      return config_.wrong("layer_types", fmt::format("a list of {} names, one for each layer", layers_));
    }
    std::vector<bool> full;
    for (const nlohmann::json& type : *types) {
      if (type != "full_attention" && type != "sliding_attention") {
        return fail(ErrorCode::kUnsupported,
                    "'layer_types' in {} holds a kind of layer that this program does not know: {}", config_.where(),
                    printable(type.is_string() ? type.get<std::string>() : type.type_name()));
      }
      full.push_back(type == "full_attention");
    }
    return full;
  }

  Status check_layers_are_full() const {
    LOCI_TRY(const std::vector<bool> full, full_layers());
    const bool windows = std::find(full.begin(), full.end(), false) != full.end();
    if (!windows || family_.model_type == "mistral") return {};
    return fail(ErrorCode::kUnsupported,
                "'layer_types' in {} mixes windows and full attention, which this program does not do for {}",
                config_.where(), family_.model_type);
  }

  Result<uint32_t> window_pattern() const {
    LOCI_TRY(const std::vector<bool> full, full_layers());
    LOCI_TRY(std::optional<uint32_t> pattern, config_.u32("sliding_window_pattern"));
    if (!pattern) {
      LOCI_TRY(pattern, config_.u32("_sliding_window_pattern"));
    }
    if (!pattern && !full.empty()) {
      // The first full layer tells; without one, any number above the layers says "windows only".
      pattern = static_cast<uint32_t>(std::find(full.begin(), full.end(), true) - full.begin()) + 1;
    }
    if (!pattern) pattern = 6;
    if (*pattern == 0) return fail(ErrorCode::kCorrupt, "'sliding_window_pattern' in {} is 0", config_.where());
    for (size_t layer = 0; layer < full.size(); ++layer) {
      if (full[layer] == ((layer + 1) % *pattern == 0)) continue;
      return fail(ErrorCode::kUnsupported,
                  "'layer_types' in {} is not full attention in every layer number {} of a group", config_.where(),
                  *pattern);
    }
    return *pattern;
  }

  const JsonFields& config_;
  const Family& family_;
  Metadata& metadata_;
  uint32_t layers_ = 0;
  uint32_t hidden_ = 0;
};

// A token id or a list of them; empty if absent.
Result<std::vector<int64_t>> token_ids(const JsonFields& fields, std::string_view field) {
  std::vector<int64_t> ids;
  const nlohmann::json* value = fields.find(field);
  if (value == nullptr) return ids;
  constexpr uint64_t limit = 0x7fffffff;
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > limit) return false;
    ids.push_back(static_cast<int64_t>(id.get<uint64_t>()));
    return true;
  };
  const bool good = value->is_array() ? std::all_of(value->begin(), value->end(), add) : add(*value);
  if (good) return ids;
  return fields.wrong(field, "a token id or a list of token ids");
}

// Looks in each of `sources` in turn, so that the most specific file decides.
Status read_special_tokens(const std::vector<JsonFields>& sources, Metadata& metadata) {
  std::vector<int64_t> bos, eos;
  for (const JsonFields& source : sources) {
    if (bos.empty()) {
      LOCI_TRY(bos, token_ids(source, "bos_token_id"));
    }
    if (eos.empty()) {
      LOCI_TRY(eos, token_ids(source, "eos_token_id"));
    }
  }
  if (!bos.empty()) metadata.set("tokenizer.ggml.bos_token_id", static_cast<uint64_t>(bos.front()));
  if (eos.empty()) return {};
  metadata.set("tokenizer.ggml.eos_token_id", static_cast<uint64_t>(eos.front()));
  metadata.set("loci.eos_token_ids", std::move(eos));
  return {};
}

Result<nlohmann::json> parse_object(std::string_view text, std::string_view name) {
  LOCI_TRY(nlohmann::json document, parse_bounded_json(text, name, JsonLimits{}));
  if (document.is_object()) return document;
  return fail(ErrorCode::kCorrupt, "{} is not a JSON object", name);
}

}  // namespace

Result<HfConfig> read_hf_config(std::string_view config_text, std::string_view generation_text) {
  LOCI_TRY(const nlohmann::json document, parse_object(config_text, "config.json"));
  LOCI_TRY(const nlohmann::json generation,
           parse_object(generation_text.empty() ? "{}" : generation_text, "generation_config.json"));
  const JsonFields whole(document, "config.json");
  LOCI_TRY(const Family family, find_family(whole));
  LOCI_CHECK(refuse_unsupported(whole, family));

  // A multimodal model keeps its text model's settings apart.
  LOCI_TRY(const std::optional<JsonFields> text_config, whole.object("text_config"));
  const JsonFields& config = text_config ? *text_config : whole;
  if (text_config) LOCI_CHECK(refuse_unsupported(config, family));

  HfConfig out;
  out.architecture = family.architecture;
  LOCI_CHECK(ConfigReader(config, family, out.metadata).read());
  LOCI_CHECK(read_special_tokens({JsonFields(generation, "generation_config.json"), config, whole}, out.metadata));
  LOCI_TRY(out.tied_embeddings, whole.flag("tie_word_embeddings"));
  if (!out.tied_embeddings) {
    LOCI_TRY(out.tied_embeddings, config.flag("tie_word_embeddings"));
  }
  return out;
}

}  // namespace loci
