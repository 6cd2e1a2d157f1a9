#include "engine/grammar_constraint.h"

#include <algorithm>
#include <limits>

namespace loci {
namespace {

void allow(TokenId token, GrammarMasks::Mask& mask) {
  mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (static_cast<size_t>(token) % 64);
}

}  // namespace

bool GrammarMasks::walk(const TokenTrie::Node& node, const GrammarState& state, Mask& mask, uint64_t& left) const {
  for (const TokenTrie::Node& child : tokens_->children(node)) {
    GrammarState next = state;
    const bool may_come = next.take(child.byte);
    const uint64_t steps = next.steps() - state.steps();
    if (steps > left) return false;
    left -= steps;
    if (!may_come) continue;
    for (const TokenId token : tokens_->tokens(child)) allow(token, mask);
    if (child.children > 0 && !walk(child, next, mask, left)) return false;
  }
  return true;
}

Result<const GrammarMasks::Mask*> GrammarMasks::of(const GrammarState& state) {
  const std::array<uint64_t, 2> key = state.fingerprint();
  const auto known = masks_.find(key);
  if (known != masks_.end()) return &known->second;
  if (masks_.size() >= kMostMasks) masks_.clear();
  Mask mask(tokens_->vocabulary() / 64 + 1, 0);
  uint64_t left = kMostSteps;
  if (!walk(tokens_->root(), state, mask, left)) {
    return fail(ErrorCode::kLimit,
                "the schema allows so many ways at once that finding the tokens that may come next takes more than {} "
                "steps; use fewer alternatives and optional properties",
                kMostSteps);
  }
  const bool none = std::all_of(mask.begin(), mask.end(), [](uint64_t bits) { return bits == 0; });
  // Where the text is whole it may end; where no token leads on it must.
  if (state.complete() || none) {
    for (const TokenId end : tokens_->end_tokens()) allow(end, mask);
  }
  return &masks_.emplace(key, std::move(mask)).first->second;
}

Status GrammarConstraint::mask(std::span<float> logits) {
  LOCI_TRY(const GrammarMasks::Mask* const mask, masks_->of(state_));
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool allowed = i / 64 < mask->size() && ((*mask)[i / 64] >> (i % 64) & 1) != 0;
    if (!allowed) logits[i] = -std::numeric_limits<float>::infinity();
  }
  return {};
}

void GrammarConstraint::accept(TokenId token) {
  const TokenTrie& tokens = masks_->tokens();
  if (token < 0 || static_cast<size_t>(token) >= tokens.vocabulary()) return;
  for (const char c : tokens.bytes(token)) state_.take(static_cast<uint8_t>(c));
}

}  // namespace loci
