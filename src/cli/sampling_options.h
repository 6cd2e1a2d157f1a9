// The options that decide which token comes next, shared by `run` and `chat`.
#pragma once

#include <string>
#include <vector>

#include "cli/parser.h"
#include "loci/loci.h"

namespace loci {

struct SamplingOptions {
  Sampling sampling;
  std::vector<std::string> stop;
  uint32_t max_new_tokens = 256;
};

// -n, --temp, --top-k, --top-p, --min-p, --repeat-penalty, --repeat-window, --seed, --stop.
void add_sampling_options(const Command& command, SamplingOptions& options);

}  // namespace loci
