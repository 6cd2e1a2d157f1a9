#include "calibrate/quantize/layer_weights.h"

#include <algorithm>

#include "model/blocks.h"

namespace loci {
namespace {

bool is_projection(const std::string& name) {
  return std::any_of(std::begin(kProjections), std::end(kProjections),
                     [&](const Projection& p) { return name == p.name; });
}

}  // namespace

std::vector<float>* LayerWeights::vector(const std::string& name) {
  const auto found = vectors.find(name);
  return found == vectors.end() ? nullptr : &found->second;
}

const std::vector<float>* LayerWeights::vector(const std::string& name) const {
  const auto found = vectors.find(name);
  return found == vectors.end() ? nullptr : &found->second;
}

std::vector<float> LayerStatistics::key_spans() const {
  std::vector<float> out(key_high.size());
  for (size_t k = 0; k < out.size(); ++k) out[k] = std::max(key_high[k], -key_low[k]);
  return out;
}

Result<Matrix> read_matrix(const ModelFile& file, const Tensor& tensor) {
  LOCI_CHECK(file.check(tensor));
  Matrix out(tensor.rows(), tensor.columns());
  const size_t stride = tensor.data.size() / tensor.rows();
  for (size_t r = 0; r < out.rows; ++r) dequantize_row(tensor.dtype, tensor.data.data() + r * stride, out.span(r));
  file.release(tensor.data);
  return out;
}

Result<LayerWeights> read_layer(const ModelFile& file, const ModelConfig& config, LayerId layer) {
  LayerWeights out;
  const std::string prefix = layer_tensor(layer, "");
  for (const Tensor& tensor : file.tensors()) {
    if (!tensor.name.starts_with(prefix)) continue;
    const std::string name = tensor.name.substr(prefix.size());
    LOCI_TRY(Matrix values, read_matrix(file, tensor));
    if (is_projection(name)) {
      out.matrices[name] = std::move(values);
    } else if (values.rows == 1) {
      if (config.norms_add_one && name.find("norm") != std::string::npos) {
        for (float& v : values.data) v += 1;
      }
      out.vectors[name] = std::move(values.data);
    } else {
      return fail(ErrorCode::kUnsupported, "tensor '{}' is a matrix that quantization knows nothing of", tensor.name);
    }
  }
  for (const Projection& p : kProjections) {
    if (!out.matrices.contains(p.name)) {
      return fail(ErrorCode::kNotFound, "the model has no tensor '{}{}'", prefix, p.name);
    }
  }
  return out;
}

}  // namespace loci
