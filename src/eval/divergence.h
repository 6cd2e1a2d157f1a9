// How far a plan's next-token distribution is from another's, row by row.
//
// Of the reference's row the 4,096 most likely tokens are kept, the rest is one outcome. With a vocabulary of no more
// the divergence is exact; with a larger one it is a lower bound, whose gap is what the rest alone could add.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "loci/types.h"

namespace loci {

inline constexpr size_t kReferenceTokens = 4096;

struct ReferenceRow {
  std::vector<TokenId> ids;              // the most likely first
  std::vector<float> log_probabilities;  // of the same
};

// Logits are finite, at least one.
ReferenceRow reference_row(std::span<const float> logits);
// KL(reference || logits) in nats. Every id of the reference is below logits.size().
double divergence(const ReferenceRow& reference, std::span<const float> logits);
TokenId argmax(std::span<const float> logits);  // the lowest id of equals

}  // namespace loci
