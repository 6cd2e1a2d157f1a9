#include "engine/grammar_constraint.h"

#include <algorithm>
#include <limits>

namespace loci {
namespace {

void allow(TokenId token, GrammarMasks::Mask& mask) {
  mask[static_cast<size_t>(token) / 64] |= uint64_t{1} << (static_cast<size_t>(token) % 64);
}

}  // namespace

void GrammarMasks::walk(const TokenTrie::Node& node, const GrammarState& state, Mask& mask) const {
  for (const TokenTrie::Node& child : tokens_->children(node)) {
    GrammarState next = state;
    if (!next.take(child.byte)) continue;
    for (const TokenId token : tokens_->tokens(child)) allow(token, mask);
    if (child.children > 0) walk(child, next, mask);
  }
}

const GrammarMasks::Mask& GrammarMasks::of(const GrammarState& state) {
  const std::array<uint64_t, 2> key = state.fingerprint();
  const auto known = masks_.find(key);
  if (known != masks_.end()) return known->second;
  if (masks_.size() >= kMostMasks) masks_.clear();
  Mask mask(tokens_->vocabulary() / 64 + 1, 0);
  walk(tokens_->root(), state, mask);
  const bool none = std::all_of(mask.begin(), mask.end(), [](uint64_t bits) { return bits == 0; });
  // Where the text is whole it may end; where no token leads on it must.
  if (state.complete() || none) {
    for (const TokenId end : tokens_->end_tokens()) allow(end, mask);
  }
  return masks_.emplace(key, std::move(mask)).first->second;
}

void GrammarConstraint::mask(std::span<float> logits) {
  const GrammarMasks::Mask& mask = masks_->of(state_);
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool allowed = i / 64 < mask.size() && (mask[i / 64] >> (i % 64) & 1) != 0;
    if (!allowed) logits[i] = -std::numeric_limits<float>::infinity();
  }
}

void GrammarConstraint::accept(TokenId token) {
  const TokenTrie& tokens = masks_->tokens();
  if (token < 0 || static_cast<size_t>(token) >= tokens.vocabulary()) return;
  for (const char c : tokens.bytes(token)) state_.take(static_cast<uint8_t>(c));
}

}  // namespace loci
