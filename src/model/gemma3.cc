// Gemma 3 (text): norms before and after each block, RMS norms on the heads of q and k, GELU, embeddings scaled by
// sqrt(hidden). Five layers of six read a sliding window and rotate with a base of their own.
#include <cmath>

#include "model/family.h"
#include "ops/elementwise.h"

namespace loci {
namespace {

class Gemma3Layer final : public Layer {
 public:
  static Result<std::unique_ptr<Layer>> load(WeightLoader& weights, const ModelConfig& config, LayerId id) {
    auto layer = std::make_unique<Gemma3Layer>();
    LOCI_TRY(layer->attention_norm_, Norm::load(weights, config, layer_tensor(id, "attn_norm.weight"), config.hidden));
    LOCI_TRY(layer->attention_, Attention::load(weights, config, id, {.head_norms = true}));
    LOCI_TRY(layer->after_attention_,
             Norm::load(weights, config, layer_tensor(id, "post_attention_norm.weight"), config.hidden));
    LOCI_TRY(layer->ffn_norm_, Norm::load(weights, config, layer_tensor(id, "ffn_norm.weight"), config.hidden));
    LOCI_TRY(layer->ffn_, GatedFeedForward::load(weights, config, id, GatedFeedForward::Activation::kGelu));
    LOCI_TRY(layer->after_ffn_, Norm::load(weights, config, layer_tensor(id, "post_ffw_norm.weight"), config.hidden));
    return std::unique_ptr<Layer>(std::move(layer));
  }

  void forward(Batch& b, Rows x) const override {  // x [rows, hidden]
    {
      Workspace::Mark scratch(b.ops().scratch);
      Rows h = attention_(b, attention_norm_(b, x));
      after_attention_.in_place(b, h);
      add(b.ops(), x, h);
    }
    Workspace::Mark scratch(b.ops().scratch);
    Rows h = ffn_(b, ffn_norm_(b, x));
    after_ffn_.in_place(b, h);
    add(b.ops(), x, h);
  }

 private:
  Norm attention_norm_, after_attention_, ffn_norm_, after_ffn_;
  Attention attention_;
  GatedFeedForward ffn_;
};

Status configure_gemma3(const ModelFile& file, ModelConfig& config) {
  const Metadata& metadata = file.metadata();
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
  config.norms_add_one = !file.norms_store_offset();
  LOCI_TRY(config.window, metadata.u32_or("gemma3.attention.sliding_window", 0));
  LOCI_TRY(config.window_pattern, metadata.u32_or("gemma3.attention.sliding_window_pattern", 6));
  LOCI_TRY(const double scalar, metadata.number_or("gemma3.attention.query_pre_attn_scalar", config.head_dim));
  if (!(scalar > 0))
    return fail(ErrorCode::kCorrupt, "'gemma3.attention.query_pre_attn_scalar' is {}, but must be positive", scalar);
  config.score_scale = static_cast<float>(1.0 / std::sqrt(scalar));
  LOCI_TRY(const double local_base, metadata.number_or("gemma3.rope.freq_base_swa", 10000.0));
  if (!(local_base > 1))
    return fail(ErrorCode::kCorrupt, "'gemma3.rope.freq_base_swa' is {}, but must exceed 1", local_base);
  config.rope.push_back(plain_rope(local_base, static_cast<uint32_t>(2 * config.rope[0].inverse_frequencies.size())));
  return {};
}

}  // namespace

const Family kGemma3 = {.architecture = "gemma3", .configure = configure_gemma3, .load_layer = Gemma3Layer::load};

}  // namespace loci
