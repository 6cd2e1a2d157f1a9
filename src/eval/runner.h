// Puts plans side by side: every plan, an engine of its own, answers the same prompts, loaded one after the other.
//
// Dense comes first if it is among them; its answers are then read by every other plan as decode steps, and the logits
// compared row by row. Answers are greedy. The model stays on the path that requests take (Engine::generate).
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "eval/result_file.h"
#include "eval/suite.h"
#include "loci/loci.h"

namespace loci {

struct EvalRun {
  std::vector<const Task*> tasks;
  std::vector<const Task*> named;  // of these; the others are left out where a length is too short
  std::vector<uint32_t> lengths;
  std::vector<std::string> plans;
  SampleOptions samples{.seed = 1, .prompts = 24, .even_depths = false, .random_start = false};
  bool raw = false;  // no chat template, though the model may have one
};

struct EvalHooks {
  std::function<Result<Engine>(const std::string& plan)> load;
  const std::atomic<bool>* cancelled = nullptr;
  std::function<void(const std::string& why)> on_left_out = {};  // of a task at a length
  // Prompt tokens of all plans together.
  std::function<void(uint64_t done, uint64_t total)> on_progress = {};
};

// Plans and prompts whose results `file` holds are not run again. kCancelled keeps what is done; kLimit if a length is
// too short for a task that is named, or for all tasks.
Status run_evaluation(const EvalRun& run, const SuiteData& data, const EvalHooks& hooks, ResultFile& file,
                      ReferenceStore& references);

}  // namespace loci
