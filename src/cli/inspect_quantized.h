// What `loci inspect` says about a model that `loci quantize` made: the recipe, and what it did to each layer.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "io/model_file.h"

namespace loci {

inline constexpr const char* kLayerColumns = "loci.quantize.layers.";  // keys of arrays with a number per layer

// Empty if the model was not made so.
std::string quantization_text(const ModelFile& file);
// The recipe's keys, and "layers": an object per layer. Null if the model was not made so.
nlohmann::ordered_json quantization_json(const ModelFile& file);

}  // namespace loci
