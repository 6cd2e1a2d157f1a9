// Runs one layer of a model by itself, with weights that need not be in any file: what calibration does with a layer
// that is half quantized. Arithmetic, attention and cache are the engine's.
//
// Owns scratch and the cache's bookkeeping; pages and workers are the core's, which outlives it. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/quantize/layer_quantizer.h"
#include "calibrate/subject.h"
#include "model/layer.h"
#include "ops/turn.h"

namespace loci {

// A layer's tensors in memory, as a file that has nothing else.
class LayerFile final : public ModelFile {
 public:
  explicit LayerFile(std::vector<QuantizedTensor> tensors);

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<Tensor>& tensors() const override { return tensors_; }
  std::string_view format() const override { return "memory"; }
  uint64_t file_bytes() const override { return 0; }
  RopePairing rope_pairing() const override { return RopePairing::kHalves; }  // the model's own says
  bool norms_store_offset() const override { return false; }
  std::string_view tokenizer_json() const override { return {}; }
  std::string_view tokenizer_config_json() const override { return {}; }
  Status check(const Tensor&) const override { return {}; }
  void release(std::span<const std::byte>) const override {}

 private:
  Metadata metadata_;
  std::vector<QuantizedTensor> held_;
  std::vector<Tensor> tensors_;
};

class LayerRunner {
 public:
  // `config`: the core's, but for what the layers do with their inputs. `store`: a plan, how the cache keeps what the
  // layer reads.
  static Result<std::unique_ptr<LayerRunner>> make(Core& core, ModelConfig config, const std::string& store);

  // Norms of the file are what they multiply with.
  Result<std::unique_ptr<Layer>> load(const ModelFile& file, LayerId id, Activations activations) const;
  // x [tokens, hidden], the residual stream of a whole sequence, goes through the layer. `tap` may be null.
  Status run(const Layer& layer, Rows x, Tap* tap);
  // x behind a norm with these gains [hidden], as q, k and v multiply it.
  void attention_input(const Rows& x, std::span<const float> gain, Rows out);
  // x [tokens, hidden] = the embeddings of the tokens.
  void embed(std::span<const TokenId> tokens, Rows x);

 private:
  LayerRunner(Core& core, ModelConfig config, std::shared_ptr<const BoundPlan> plan, Workspace scratch);

  OpContext ops() { return {core_.threads(), core_.isa(), scratch_}; }

  Core& core_;
  ModelConfig config_;
  std::optional<InputTurn> turn_;  // of the inputs
  std::shared_ptr<const BoundPlan> plan_;
  Workspace scratch_;
  Executor executor_;
};

}  // namespace loci
