// One layer of a model, from fp32 weights to stored tensors: folds, then rounds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/quantize/folding.h"
#include "calibrate/quantize/recipe.h"
#include "io/gguf_output.h"

namespace loci {

struct QuantizedTensor {
  TensorPlan plan;
  std::vector<std::byte> bytes;
};

// Numbers of a layer that its file keeps, by name: "error.attn_q" is |(W - W') x| / |W x| over the calibration's
// inputs, "attention.error" that of attention over the stored cache, "alpha.keys" the chosen exponent (-1: the step
// changed nothing).
using LayerReport = std::map<std::string, double>;

struct QuantizedLayer {
  std::vector<QuantizedTensor> tensors;
  LayerReport report;
};

// `rotation` is null if the residual stream stays as it is. `layer.seen` is empty if no step needs statistics.
Result<QuantizedLayer> quantize_layer(LayerUnderWork layer, LayerId id, const ModelConfig& config,
                                      const QuantScheme& scheme, const QuantSteps& steps, const Rotation* rotation,
                                      ThreadPool& pool);

// A matrix outside the layers (embedding, head): q8_0, or f16 if its rows are no whole blocks or `dtype` says so.
QuantizedTensor store_matrix(const std::string& name, const Matrix& m, DType dtype, ThreadPool& pool);
QuantizedTensor store_vector(const std::string& name, std::span<const float> v);

}  // namespace loci
