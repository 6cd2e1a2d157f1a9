// Qwen3: Llama's layer with RMS norms on the heads of q and k.
#include "model/family.h"
#include "ops/elementwise.h"

namespace loci {
namespace {

class Qwen3Layer final : public Layer {
 public:
  static Result<std::unique_ptr<Layer>> load(WeightLoader& weights, const ModelConfig& config, LayerId id) {
    auto layer = std::make_unique<Qwen3Layer>();
    LOCI_TRY(layer->attention_norm_, Norm::load(weights, config, layer_tensor(id, "attn_norm.weight"), config.hidden));
    LOCI_TRY(layer->attention_, Attention::load(weights, config, id, {.head_norms = true}));
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

}  // namespace

const Family kQwen3 = {.architecture = "qwen3", .configure = nullptr, .load_layer = Qwen3Layer::load};

}  // namespace loci
