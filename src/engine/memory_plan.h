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

// What follows from a plan and a model: how sequences are cut and laid out, and what passes over them take.
struct PlanLayout {
  AttentionPlan attention;
  std::shared_ptr<const Stages> stages;
  Chunking chunking;
  std::vector<LayerShape> layers;
  uint64_t prompt_scratch_bytes = 0;  // of a pass's prompt rows
  uint64_t step_scratch_bytes = 0;    // of a decode step
  uint64_t state_bytes = 0;           // of a sequence
  bool mixes = false;                 // in some layer
};

struct EngineLayout : PlanLayout {
  Activations activations = Activations::kInt8;
  uint32_t context = 0;
  uint32_t chunk = 0;  // as asked for
  uint32_t batch = 1;
  uint32_t pass_rows = 0;   // of one forward pass
  uint32_t logit_rows = 0;  // that become logits at a time
  int threads = 1;
  WorkPlan work;
  MemoryPlan memory;
  // Pages beyond memory.kv_bytes, planned as scratch: a fork that goes on copies the page that its origin ends in.
  uint64_t fork_bytes = 0;
};

// Bytes of pages that a sequence holds at its peak: a prompt of `prompt` tokens that grows to `total`.
uint64_t sequence_bytes(const PlanLayout& layout, uint32_t prompt, uint32_t total);

Result<Activations> parse_activations(const std::string& name);

// The layout of sequences of up to `context` tokens under `attention`, read in passes of `chunk` prompt rows.
// `fingerprint` is the model's, for profiles.
Result<PlanLayout> lay_out_plan(const ModelConfig& model, const std::string& fingerprint, const std::string& attention,
                                uint32_t context, uint32_t chunk, int threads);

// Of a pass of `rows` rows whose methods take `methods` bytes; `mixes`: some of them ask for the lse of the reads.
uint64_t pass_scratch_bytes(const ModelConfig& model, const EngineLayout& layout, uint32_t rows, uint64_t methods,
                            bool mixes);

// Checks the options against the model and adds up. Errors name the option, its value and its limit.
Result<EngineLayout> lay_out(const ModelMeasure& model, const std::string& fingerprint, const EngineOptions& options,
                             int threads);

}  // namespace loci
