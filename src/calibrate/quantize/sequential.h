// What a layer's inputs are behind the layers that have been quantized already, beside what they are in the model: two
// residual streams of the calibration text, which move on a layer at a time. For the asymmetric calibration of GPTAQ
// (Li et al., arXiv:2504.02692): outputs shall be the model's, though inputs are not. What a layer adds to the stream
// shall also make up for what the stream lacks in front of it.
//
// Memory: the two streams, what the second lacks, and three of the four inputs of one layer, in fp32 for every token of
// the text. The numbers depend neither on threads nor on where a run was stopped. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/quantize/layer_runner.h"
#include "calibrate/quantize/rotation.h"

namespace loci {

// x is an input in the model, y the same behind quantized layers, as it is rounded before it is multiplied.
struct FollowedSums {
  Matrix gram;     // [columns, columns]: sum of y^T y
  Matrix shift;    // of q, k and v, gate and up, [columns, columns]: sum of (x - y)^T y
  Matrix missing;  // of what writes to the stream, [hidden, columns]: sum of m^T y, m what its outputs lack

  void add(const FollowedSums& other);
};

// Every kHoldOut-th sequence is held out, of fewer the last, of one none: it judges what the others suggest.
inline constexpr size_t kHoldOut = 8;
struct FollowedInput {
  FollowedSums fit, held;
};

class SequentialInputs {
 public:
  // `config` is the subject's, but for what quantized layers do with their inputs, `store` how the quantized model
  // keeps its cache, `activation_bits` what its projections multiply. The text's sequences outlive this.
  static Result<std::unique_ptr<SequentialInputs>> make(Subject& subject, const ModelConfig& config,
                                                        std::span<const std::vector<TokenId>> sequences,
                                                        const Rotation* rotation, const std::string& store,
                                                        uint32_t activation_bits);

  // The layer with folded weights: moves the model's stream behind it.
  Status enter(LayerId id, const LayerWeights& folded, const Cancelled& cancelled);
  // Of the layer that was entered. `rounded` are the tensors of all projections that come before `input`.
  Result<FollowedInput> follow(LayerInput input, std::span<const QuantizedTensor> rounded, const Cancelled& cancelled);
  // The layer as it is stored: moves the quantized model's stream behind it.
  Status leave(const ModelFile& stored, const Cancelled& cancelled);

 private:
  explicit SequentialInputs(Subject& subject) : subject_(subject) {}

  Rows rows_of(Matrix& stream, size_t sequence) const;
  // [tokens, hidden] of the projection behind `input`: what its outputs lack if it keeps its weights. They and `y` are
  // divided by what the stream, and a norm in between, will divide them by.
  Matrix missing_outputs(LayerInput input, size_t sequence, const Rows& x, Rows y, Matrix& passing);
  Result<std::unique_ptr<Layer>> unfinished_layer(std::span<const QuantizedTensor> rounded) const;

  Subject& subject_;
  std::unique_ptr<LayerRunner> model_, quantized_;
  uint32_t activation_bits_ = 16;
  std::vector<size_t> first_rows_;  // of each sequence, and the end
  Matrix right_, got_;              // [tokens, hidden]: in front of the layer
  LayerId id_{0};
  const LayerWeights* folded_ = nullptr;
  Matrix inputs_[kLayerInputs];  // of the layer in the model: [tokens, columns]
  Matrix lacks_;                 // [tokens, hidden]: the model's stream in front of the layer minus the other
};

}  // namespace loci
