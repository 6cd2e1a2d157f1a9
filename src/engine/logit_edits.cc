#include "engine/logit_edits.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace loci {

Result<std::span<const float>> LogitEdits::apply(std::span<const float> logits, Constraint* constraint) {
  if (idle() && constraint == nullptr) return logits;
  edited_.assign(logits.begin(), logits.end());
  for (const LogitBias& bias : sampling_.logit_bias) {
    if (static_cast<size_t>(bias.token) < edited_.size()) edited_[static_cast<size_t>(bias.token)] += bias.bias;
  }
  if (sampling_.presence_penalty != 0.0F || sampling_.frequency_penalty != 0.0F) {
    for (const auto& [token, times] : counts_) {
      edited_[static_cast<size_t>(token)] -=
          sampling_.presence_penalty + sampling_.frequency_penalty * static_cast<float>(times);
    }
  }
  if (constraint != nullptr) LOCI_CHECK(constraint->mask(edited_));
  return std::span<const float>(edited_);
}

void LogitEdits::count(TokenId token) {
  if (sampling_.presence_penalty != 0.0F || sampling_.frequency_penalty != 0.0F) ++counts_[token];
}

Result<TokenLogprob> logprob_of(std::span<const float> logits, TokenId token, uint32_t top) {
  const float best = *std::max_element(logits.begin(), logits.end());
  if (!std::isfinite(best)) return fail(ErrorCode::kInternal, "the highest of {} logits is {}", logits.size(), best);
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x - best));
  const auto log_sum = static_cast<float>(std::log(sum));
  const auto logprob = [&](TokenId id) { return logits[static_cast<size_t>(id)] - best - log_sum; };
  TokenLogprob out{.token = token, .logprob = logprob(token), .top = {}};
  if (top == 0) return out;
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = static_cast<std::ptrdiff_t>(std::min<size_t>(top, order.size()));
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](TokenId a, TokenId b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  });
  for (std::ptrdiff_t i = 0; i < count; ++i)
    out.top.push_back({order[static_cast<size_t>(i)], logprob(order[static_cast<size_t>(i)])});
  return out;
}

}  // namespace loci
