// One layer of a model, from fp32 weights to stored tensors: folds, then rounds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/quantize/folding.h"
#include "calibrate/quantize/recipe.h"
#include "calibrate/subject.h"
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

class SequentialInputs;

// What is asked of a layer.
struct LayerRecipe {
  const ModelConfig& config;  // of the quantized model: says which inputs are turned
  QuantScheme scheme;
  QuantSteps steps;
  const Rotation* rotation = nullptr;  // null: the residual stream stays as it is
};

// `layer.seen` is empty if no step needs statistics. `inputs` follows the layers before, and this one; null: each
// layer is rounded for its inputs in the model.
Result<QuantizedLayer> quantize_layer(LayerUnderWork layer, LayerId id, const LayerRecipe& recipe,
                                      SequentialInputs* inputs, const Cancelled& cancelled, ThreadPool& pool);
// A layer that an earlier run has finished: `inputs` goes behind it as if it had just been quantized.
Status pass_layer(LayerUnderWork layer, LayerId id, const LayerRecipe& recipe, const ModelFile& finished,
                  SequentialInputs& inputs, const Cancelled& cancelled, ThreadPool& pool);

// A matrix outside the layers (embedding, head): q8_0, or f16 if its rows are no whole blocks or `dtype` says so.
QuantizedTensor store_matrix(const std::string& name, const Matrix& m, DType dtype, ThreadPool& pool);
QuantizedTensor store_vector(const std::string& name, std::span<const float> v);

}  // namespace loci
