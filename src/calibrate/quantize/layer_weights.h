// The weights of one layer as fp32 numbers, and what its inputs look like: the two that folding changes together.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cache/ids.h"
#include "calibrate/quantize/matrix.h"
#include "io/model_file.h"
#include "model/config.h"

namespace loci {

// What a layer's projections multiply: the input of q, k, v; of the output projection; of gate and up; of down.
enum class LayerInput : uint8_t { kAttention, kMixed, kFeedForward, kGated };
inline constexpr size_t kLayerInputs = 4;

// The matrices of a layer, in the order of the work.
struct Projection {
  const char* name;  // behind "blk.N."
  LayerInput input;
};
inline constexpr Projection kProjections[] = {
    {"attn_q.weight", LayerInput::kAttention},     {"attn_k.weight", LayerInput::kAttention},
    {"attn_v.weight", LayerInput::kAttention},     {"attn_output.weight", LayerInput::kMixed},
    {"ffn_gate.weight", LayerInput::kFeedForward}, {"ffn_up.weight", LayerInput::kFeedForward},
    {"ffn_down.weight", LayerInput::kGated}};

struct LayerWeights {
  std::map<std::string, Matrix> matrices;             // the projections
  std::map<std::string, std::vector<float>> vectors;  // everything else: norms, biases

  Matrix& at(const char* name) { return matrices.at(name); }
  const Matrix& at(const char* name) const { return matrices.at(name); }
  // nullptr if the layer has no such vector.
  std::vector<float>* vector(const std::string& name);
  const std::vector<float>* vector(const std::string& name) const;
};

// What calibration tokens show of a layer. Empty where nothing has been measured.
struct LayerStatistics {
  Matrix grams[kLayerInputs];              // sums of x^T x of each input
  std::vector<float> spans[kLayerInputs];  // largest |x| of each column
  Matrix rows[kLayerInputs];               // some x
  std::vector<float> key_low, key_high;    // [kv_heads * head_dim]: least and largest of rotated keys
  Matrix queries, keys, values;            // rotated rows of some pieces of text, one piece behind the other
  uint32_t piece_rows = 0;                 // of each piece: row r stands at position r % piece_rows

  Matrix& gram(LayerInput input) { return grams[static_cast<size_t>(input)]; }
  const Matrix& gram(LayerInput input) const { return grams[static_cast<size_t>(input)]; }
  Matrix& some_rows(LayerInput input) { return rows[static_cast<size_t>(input)]; }
  const Matrix& some_rows(LayerInput input) const { return rows[static_cast<size_t>(input)]; }
  std::vector<float>& span(LayerInput input) { return spans[static_cast<size_t>(input)]; }
  const std::vector<float>& span(LayerInput input) const { return spans[static_cast<size_t>(input)]; }
  std::vector<float> key_spans() const;  // largest |key| of each channel
};

// A tensor as fp32 numbers; `check` has been asked.
Result<Matrix> read_matrix(const ModelFile& file, const Tensor& tensor);
// Norms are stored as what they multiply with, whatever the file stores. kUnsupported names a tensor that no known
// layer has.
Result<LayerWeights> read_layer(const ModelFile& file, const ModelConfig& config, LayerId layer);

}  // namespace loci
