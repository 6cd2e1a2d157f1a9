// How well a row of logits foresaw a token.
#pragma once

#include <span>

#include "loci/loci.h"

namespace loci {

// Sums in double. logits are finite, at least one; 0 <= target < logits.size().
TokenScore score_token(std::span<const float> logits, TokenId target);

}  // namespace loci
