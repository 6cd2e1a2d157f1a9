#include "engine/token_score.h"

#include <cmath>
#include <limits>

namespace loci {

TokenScore score_token(std::span<const float> logits, TokenId target) {
  float best = -std::numeric_limits<float>::infinity();
  float second = best;
  TokenId argmax = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best) {
      second = best;
      best = logits[i];
      argmax = static_cast<TokenId>(i);
    } else if (logits[i] > second) {
      second = logits[i];
    }
  }
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x - best));
  const double log_sum = static_cast<double>(best) + std::log(sum);
  return {.nll = static_cast<float>(log_sum - static_cast<double>(logits[static_cast<size_t>(target)])),
          .argmax = argmax,
          .gap = best - second};
}

}  // namespace loci
