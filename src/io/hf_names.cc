#include "io/hf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace loci {
namespace {

struct Renaming {
  std::string_view from, to;
};

constexpr std::array<Renaming, 3> kModelNames = {{
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
}};

constexpr std::array<Renaming, 10> kLayerNames = {{
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"input_layernorm", "attn_norm"},
}};

// Llama's "post_attention_layernorm" is the norm before the feed-forward part; Gemma's is a further one, after
// attention.
constexpr std::array<Renaming, 1> kLlamaNorms = {{{"post_attention_layernorm", "ffn_norm"}}};
constexpr std::array<Renaming, 3> kGemmaNorms = {{
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
}};

template <size_t N>
std::optional<std::string_view> rename(const std::array<Renaming, N>& names, std::string_view from) {
  const auto* found = std::find_if(names.begin(), names.end(), [&](const Renaming& r) { return r.from == from; });
  if (found == names.end()) return std::nullopt;
  return found->to;
}

bool strip(std::string_view& name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return false;
  name.remove_prefix(prefix.size());
  return true;
}

std::optional<std::string> layer_tensor_name(std::string_view name, std::string_view ending, bool gemma) {
  const size_t digits = name.find_first_not_of("0123456789");
  // No leading zeros, or two names would mean one tensor.
  if (digits == 0 || digits == std::string_view::npos || name[digits] != '.' || (digits > 1 && name[0] == '0')) {
    return std::nullopt;
  }
  const std::string_view inner = name.substr(digits + 1);
  std::optional<std::string_view> renamed = rename(kLayerNames, inner);
  if (!renamed) renamed = gemma ? rename(kGemmaNorms, inner) : rename(kLlamaNorms, inner);
  if (!renamed) return std::nullopt;
  return fmt::format("blk.{}.{}.{}", name.substr(0, digits), *renamed, ending);
}

}  // namespace

std::optional<std::string> gguf_tensor_name(std::string_view name, std::string_view architecture) {
  std::string plain(name);
  if (std::string_view rest = name; strip(rest, "model.language_model."))
    plain = fmt::format("model.{}", rest);
  else if (strip(rest, "language_model."))
    plain = rest;

  const size_t dot = plain.rfind('.');
  if (dot == std::string::npos) return std::nullopt;
  std::string_view stem = std::string_view(plain).substr(0, dot);
  const std::string_view ending = std::string_view(plain).substr(dot + 1);
  if (ending != "weight" && ending != "bias") return std::nullopt;
  if (strip(stem, "model.layers.")) return layer_tensor_name(stem, ending, architecture == "gemma3");
  if (const auto renamed = rename(kModelNames, stem)) return fmt::format("{}.{}", *renamed, ending);
  return std::nullopt;
}

bool is_unused_tensor(std::string_view name) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  std::string_view rest = name;
  strip(rest, "model.");
  return rest.starts_with("vision_tower.") || rest.starts_with("multi_modal_projector.");
}

}  // namespace loci
