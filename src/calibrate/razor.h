// Which heads look back at earlier copies of a token, and at what followed them. Tang et al., RazorAttention: Efficient
// KV Cache Compression Through Retrieval Heads, arXiv:2407.15891, section 3.3.
//
// Random tokens are repeated four times. Only the at most six keys that a query can mean are scored; with the log of
// the softmax's denominator, which the read gives anyway, they are probabilities: O(6 * tokens * head_dim) a head.
#pragma once

#include <map>
#include <memory>

#include "calibrate/calibration.h"

namespace loci {

inline constexpr uint32_t kCopies = 4;

struct RazorOptions {
  uint32_t period = 1024;  // tokens of one copy
  uint32_t rounds = 2;     // sequences
  uint64_t seed = 0;
  std::map<std::string, double> settings;
};

// A piece per round. Profile: "echo" and "induction" [layers][KV heads], the greatest of the group's query heads: mean
// attention of the rows of the later copies to all earlier copies of their token, and to what followed those.
// kInvalidArgument if there are fewer ordinary tokens than a period takes.
Result<std::unique_ptr<Calibration>> razor(Subject& subject, RazorOptions options);

}  // namespace loci
