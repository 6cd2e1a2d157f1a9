// Llama and its kin (Llama 2 and 3, Mistral, SmolLM): pre-norm, rotary embedding, grouped queries, SwiGLU.
#include "model/family.h"
#include "ops/elementwise.h"

namespace loci {
namespace {

class LlamaLayer final : public Layer {
 public:
  static Result<std::unique_ptr<Layer>> load(WeightLoader& weights, const ModelConfig& config, LayerId id) {
    auto layer = std::make_unique<LlamaLayer>();
    LOCI_TRY(layer->attention_norm_, Norm::load(weights, config, layer_tensor(id, "attn_norm.weight"), config.hidden));
    LOCI_TRY(layer->attention_, Attention::load(weights, config, id, {}));
    LOCI_TRY(layer->ffn_norm_, Norm::load(weights, config, layer_tensor(id, "ffn_norm.weight"), config.hidden));
    LOCI_TRY(layer->ffn_, GatedFeedForward::load(weights, config, id, GatedFeedForward::Activation::kSilu));
    return std::unique_ptr<Layer>(std::move(layer));
  }

  void forward(Batch& b, Rows x) const override {  // x [rows, hidden]
    {
      Workspace::Mark scratch(b.ops().scratch);
      add(b.ops(), x, attention_(b, attention_norm_(b, x)));
    }
    Workspace::Mark scratch(b.ops().scratch);
    add(b.ops(), x, ffn_(b, ffn_norm_(b, x)));
  }

 private:
  Norm attention_norm_, ffn_norm_;
  Attention attention_;
  GatedFeedForward ffn_;
};

// Mistral's first generation reads a window of positions in every layer.
Status configure_llama(const ModelFile& file, ModelConfig& config) {
  LOCI_TRY(config.window, file.metadata().u32_or("llama.attention.sliding_window", 0));
  return {};
}

}  // namespace

const Family kLlama = {.architecture = "llama", .configure = configure_llama, .load_layer = LlamaLayer::load};

}  // namespace loci
