// Chooses the next token from a row of logits.
//
// Order of the steps: repetition penalty, temperature, top_k, top_p, min_p, draw. The steps are defined on a total
// order of the vocabulary (higher score first, the lower id wins a tie) and on integer weights, floor(2^40 exp((score -
// best) / temperature)), so that every sum is exact and the outcome depends on nothing but (sampling, logits, recent,
// position):
//   top_k  keeps the first k of the order;
//   top_p  keeps the shortest beginning of what is left whose share of its weight is at least top_p (one token at
//   least); min_p  keeps the tokens whose weight is at least min_p times the best one's.
// Tokens less than 2^-40 times as likely as the best are never drawn.
//
// The random number is a function of (seed, position): see `random_number`. A Sampler owns scratch of the vocabulary's
// size, allocated by the first calls and kept. One thread at a time. Cost: linear in the vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "loci/loci.h"

namespace loci {

// kInvalidArgument names the field that has no meaning.
Status check(const Sampling& sampling);

// Number `position` of the SplitMix64 stream whose state is SplitMix64's mixing function applied to `seed`.
uint64_t random_number(uint64_t seed, uint64_t position);

class Sampler {
 public:
  struct Candidate {
    TokenId id = 0;
    float score = 0.0F;   // after the penalty, before the temperature
    uint64_t weight = 0;  // proportional to the probability
  };

  // `sampling` has passed `check`.
  explicit Sampler(const Sampling& sampling);

  // The token for place `position` of a sequence whose earlier tokens end in `recent`. kInternal if a logit is NaN or
  // +infinity, if all are -infinity, or if a recent token is outside the vocabulary.
  Result<TokenId> sample(std::span<const float> logits, std::span<const TokenId> recent, uint64_t position);

  // What sample() draws from, in ascending order of id; valid until the next call.
  Result<std::span<const Candidate>> candidates(std::span<const float> logits, std::span<const TokenId> recent);

 private:
  struct Best {
    TokenId id = 0;
    float score = 0.0F;
  };

  Result<std::span<const float>> penalised(std::span<const float> logits, std::span<const TokenId> recent);
  static Result<Best> best(std::span<const float> scores);
  Result<TokenId> draw_from_all(std::span<const float> scores, float top, uint64_t random);
  void gather(std::span<const float> scores, float top);
  Candidate last_of_top_k();
  void weigh(float top);
  Candidate last_of_top_p(float top);
  template <typename Keep>
  void retain(Keep keep);

  Sampling sampling_;
  std::vector<float> scores_;       // logits after the penalty
  std::vector<TokenId> recent_;     // distinct tokens of the penalty's window
  std::vector<Candidate> chosen_;   // ascending id
  std::vector<Candidate> partial_;  // selection scratch
  std::vector<float> distances_;    // (best - score) / temperature of chosen_, then their weights
  std::vector<uint64_t> buckets_;   // weight by distance
};

}  // namespace loci
