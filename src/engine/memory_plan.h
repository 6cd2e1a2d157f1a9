// What a model, a context and a plan need, before anything is allocated. Loading allocates by the same numbers.
#pragma once

#include <memory>
#include <vector>

#include "attention/executor.h"
#include "attention/plan/plan.h"
#include "attention/stages/stages.h"
#include "cache/sequence_cache.h"
#include "engine/chunking.h"
#include "loci/loci.h"
#include "model/model.h"

namespace loci {

struct EngineLayout {
  AttentionPlan attention;
  std::shared_ptr<const Stages> stages;
  Activations activations = Activations::kInt8;
  uint32_t context = 0;
  Chunking chunking;
  uint32_t batch = 1;
  uint32_t pass_rows = 0;   // of one forward pass
  uint32_t logit_rows = 0;  // that become logits at a time
  std::vector<LayerShape> layers;
  WorkPlan work;
  MemoryPlan memory;
  // Pages beyond memory.kv_bytes, planned as scratch: a fork that goes on copies the page that its origin ends in.
  uint64_t fork_bytes = 0;
};

// Bytes of pages that a sequence holds at its peak: a prompt of `prompt` tokens that grows to `total`.
uint64_t sequence_bytes(const EngineLayout& layout, uint32_t prompt, uint32_t total);

Result<Activations> parse_activations(const std::string& name);

// Checks the options against the model and adds up. `fingerprint` is the model's, for profiles. Errors name the option,
// its value and its limit.
Result<EngineLayout> lay_out(const ModelMeasure& model, const std::string& fingerprint, const EngineOptions& options,
                             int threads);

}  // namespace loci
