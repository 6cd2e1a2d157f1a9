// Two plans, or two runs of one, prompt by prompt: what differs, and whether chance could have made it.
//
// Only prompts that both have answered count. Intervals are of one cell each: of twenty cells one misses its value.
#pragma once

#include <string>
#include <vector>

#include "eval/result_file.h"

namespace loci {

struct PairedCell {
  std::string task;
  uint32_t length = 0;
  uint32_t prompts = 0;
  double first = 0, second = 0;  // mean scores
  Interval difference;           // second - first
  uint32_t better = 0, worse = 0;
  std::optional<Interval> kl;  // difference of the divergences from dense, where both have one
};

// Cells in the order in which `first` holds them. kInvalidArgument if prompts of one key are not the same, or none is
// in both.
Result<std::vector<PairedCell>> compare_results(const std::vector<PromptResult>& first, const std::string& first_plan,
                                                const std::vector<PromptResult>& second,
                                                const std::string& second_plan);
nlohmann::ordered_json to_json(const PairedCell& cell);

}  // namespace loci
