// What a request changes in the model's logits before a token is sampled: biases, penalties on what was generated, and
// what a constraint forbids. Owns a copy of a row, made only if there is something to change. One thread at a time.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "loci/loci.h"

namespace loci {

class LogitEdits {
 public:
  // `sampling` has passed `check`.
  explicit LogitEdits(const Sampling& sampling) : sampling_(sampling) {}

  // The logits to sample from; valid until the next call. `constraint` may be null; its error is this one's.
  Result<std::span<const float>> apply(std::span<const float> logits, Constraint* constraint);
  // A token was generated: penalties count it.
  void count(TokenId token);

 private:
  bool idle() const {
    return sampling_.logit_bias.empty() && sampling_.presence_penalty == 0.0F && sampling_.frequency_penalty == 0.0F;
  }

  Sampling sampling_;
  std::unordered_map<TokenId, uint32_t> counts_;
  std::vector<float> edited_;
};

// Log-probabilities under the model itself, before any edit: of `token` and of the `top` most likely ones, in
// descending order, the lower id first of equals. kInternal if a logit is not finite.
Result<TokenLogprob> logprob_of(std::span<const float> logits, TokenId token, uint32_t top);

}  // namespace loci
