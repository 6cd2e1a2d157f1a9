// A plan made for a loaded model and its pool of pages: what every sequence under it shares. Immutable; any thread.
#pragma once

#include <memory>
#include <string>

#include "cache/sequence_cache.h"
#include "engine/memory_plan.h"

namespace loci {

struct BoundPlan {
  // `pool` outlives it.
  BoundPlan(PlanLayout made, PagePool& pool);

  PlanLayout layout;
  CacheLayout cache;
  std::string canonical;   // the plan's one form
  std::string prefix_key;  // prompts of plans with equal keys may share pages: they read alike and are laid out alike
  Set<RequestData> prefix_data;  // what requests declare that prompt entries depend on
};

}  // namespace loci
