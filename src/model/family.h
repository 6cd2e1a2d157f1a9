// A family of architectures: how its metadata differs and what one layer is. Adding one is a file and a line in
// family.cc (docs/add-a-model.md).
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "model/blocks.h"
#include "model/config.h"
#include "model/layer.h"
#include "model/weight_loader.h"

namespace loci {

struct Family {
  std::string_view architecture;  // as general.architecture names it
  // Completes what read_config() has read; may be null.
  Status (*configure)(const ModelFile& file, ModelConfig& config);
  Result<std::unique_ptr<Layer>> (*load_layer)(WeightLoader& weights, const ModelConfig& config, LayerId layer);
};

// Each defined in the family's own file.
extern const Family kLlama, kQwen2, kQwen3, kGemma3;

std::span<const Family* const> families();
// kUnsupported names the architecture and the supported ones.
Result<const Family*> find_family(std::string_view architecture);

}  // namespace loci
