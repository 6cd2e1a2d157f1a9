// A model in memory: packed weights and its layers. Immutable after loading.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "loci/types.h"
#include "model/batch.h"
#include "model/family.h"

namespace loci {

// What is known of a model before its weights are read.
struct ModelMeasure {
  ModelConfig config;
  uint64_t weights_bytes = 0;
  uint64_t parameters = 0;
  uint64_t macs_per_token = 0;  // of all layers' projections
  uint64_t head_macs = 0;       // of a row of logits
};

class Model {
 public:
  // Reads the header only. Errors are those of load(), short of the weights' bytes.
  static Result<ModelMeasure> measure(const ModelFile& file, Activations activations);
  static Result<Model> load(const ModelFile& file, Activations activations, ThreadPool& pool,
                            const WeightLoader::OnLoad& on_load);

  const ModelMeasure& measured() const { return measure_; }
  const ModelConfig& config() const { return measure_.config; }
  std::span<const std::unique_ptr<Layer>> layers() const { return layers_; }

  // x [tokens, hidden] = the embeddings of the ids, which lie in the vocabulary.
  void embed(OpContext& ops, std::span<const TokenId> ids, Rows x) const;
  // The same rows behind the last norm: [rows, hidden].
  void states(OpContext& ops, const Rows& x, Rows states) const;
  // logits [rows, vocabulary] of residual rows x [rows, hidden].
  void logits(OpContext& ops, const Rows& x, Rows logits) const;

  // Scratch of a pass of `rows` rows, of which `logit_rows` at a time become logits.
  static size_t scratch_bytes(const ModelConfig& config, size_t rows, size_t logit_rows, int threads,
                              size_t executor_bytes);

 private:
  Model() = default;

  ModelMeasure measure_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::optional<PackedMatrix> embedding_;  // if the head has a matrix of its own
  Linear head_;                            // tied: the embedding too
  std::vector<float> output_norm_;
};

}  // namespace loci
