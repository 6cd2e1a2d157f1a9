#include "eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace loci {
namespace {

double log_sum_exp(std::span<const float> logits) {
  const double best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - best);
  return best + std::log(sum);
}

}  // namespace

TokenId argmax(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

ReferenceRow reference_row(std::span<const float> logits) {
  ReferenceRow row;
  row.ids.resize(logits.size());
  std::iota(row.ids.begin(), row.ids.end(), 0);
  const size_t kept = std::min(kReferenceTokens, logits.size());
  const auto more_likely = [&](TokenId a, TokenId b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(row.ids.begin(), row.ids.begin() + static_cast<ptrdiff_t>(kept), row.ids.end(), more_likely);
  row.ids.resize(kept);
  const double total = log_sum_exp(logits);
  for (const TokenId id : row.ids) {
    row.log_probabilities.push_back(static_cast<float>(static_cast<double>(logits[static_cast<size_t>(id)]) - total));
  }
  return row;
}

double divergence(const ReferenceRow& reference, std::span<const float> logits) {
  const double total = log_sum_exp(logits);
  double sum = 0;
  double reference_rest = 1;
  double rest = 1;
  for (size_t i = 0; i < reference.ids.size(); ++i) {
    const double log_p = reference.log_probabilities[i];
    const double log_q = static_cast<double>(logits[static_cast<size_t>(reference.ids[i])]) - total;
    const double p = std::exp(log_p);
    sum += p * (log_p - log_q);
    reference_rest -= p;
    rest -= std::exp(log_q);
  }
  // Rounding leaves the rest of a whole vocabulary a little off zero.
  constexpr double kRounding = 1e-6;
  if (reference.ids.size() < logits.size() && reference_rest > kRounding && rest > kRounding) {
    sum += reference_rest * std::log(reference_rest / rest);
  }
  return std::max(sum, 0.0);
}

}  // namespace loci
