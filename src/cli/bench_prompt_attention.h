// loci bench attention --prompt: what attention costs while a model reads a text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/model_options.h"

namespace loci {

struct PromptAttention {
  std::string text;                // the file's path
  std::vector<std::string> plans;  // the last one is what the others are measured beside
  ModelOptions model;              // its attention is not looked at
  std::vector<uint32_t> lengths;   // tokens of the text
  uint32_t repetitions = 3;
  bool json = false;
};

// The plans take turns, each on an engine of its own. kLimit if the text is too short.
Result<int> bench_prompt_attention(const Console& console, const PromptAttention& command);

}  // namespace loci
