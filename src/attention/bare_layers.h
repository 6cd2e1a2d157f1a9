// Attention layers without a model around them: caches, a plan's stages and the executor, fed with random entries and
// queries. What `loci bench attention` times.
//
// Entries are drawn from a fixed set of random vectors, so filling a cache costs little more than encoding. A step's
// queries are new, or, in a share of the steps, nearly those of the step before: methods that reuse a choice live by
// such steps. Prompts are appended without being read; their last rows alone are shown to the methods that look at
// them. Profiles that a plan asks for are made up: random numbers for every head. One thread calls.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention/plan/plan.h"
#include "attention/schedule.h"
#include "attention/stages/model_shape.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/threads.h"

namespace loci {

struct BareLayersOptions {
  ModelShape model;
  std::vector<uint32_t> depths;  // of the sequences that are stepped together: tokens before the first step
  uint32_t steps = 1;
  double alike = 0;  // share of steps whose queries are nearly the last step's
  uint64_t seed = 0;
  Isa isa = Isa::kScalar;
  Schedule schedule = Schedule::kStream;
};

// Of all layers.
struct BareStep {
  double select_seconds = 0;  // naming reads, and combining them where a method does
  double read_seconds = 0;
  double append_seconds = 0;
  uint64_t read_bytes = 0;  // of the entries that were read
};

class BareLayers {
 public:
  // kLimit if caches of these depths do not fit into what the machine has free. `pool` outlives it.
  static Result<std::unique_ptr<BareLayers>> make(const AttentionPlan& plan, const BareLayersOptions& options,
                                                  ThreadPool& pool);
  ~BareLayers();

  // Appends the prompts. To be called once, before the first step.
  Status fill();
  // One token of every sequence. At most options.steps times.
  Result<BareStep> step();

  const ScheduleTimes& times() const;
  uint64_t kv_bytes() const;
  // Kinds of profiles that were made up, with a comma between them.
  const std::string& made_up() const;

 private:
  struct State;
  explicit BareLayers(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace loci
