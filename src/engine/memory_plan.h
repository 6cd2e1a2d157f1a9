// What a model, a context and a plan need, before anything is allocated. Loading allocates by the same numbers.
#pragma once

#include <vector>

#include "attention/executor.h"
#include "attention/plan/plan.h"
#include "cache/sequence_cache.h"
#include "loci/loci.h"
#include "model/model.h"

namespace loci {

struct EngineLayout {
  AttentionPlan attention;
  Activations activations = Activations::kInt8;
  uint32_t context = 0;
  uint32_t chunk = 0;
  uint32_t batch = 1;
  uint32_t pass_rows = 0;   // of one forward pass
  uint32_t logit_rows = 0;  // that become logits at a time
  std::vector<LayerShape> layers;
  WorkPlan work;
  MemoryPlan memory;
};

Result<Activations> parse_activations(const std::string& name);

// Checks the options against the model and adds up. Errors name the option, its value and its limit.
Result<EngineLayout> lay_out(const ModelMeasure& model, const EngineOptions& options, int threads);

}  // namespace loci
