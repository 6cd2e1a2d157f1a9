// Keeps an answer within a grammar: before each token the vocabulary's tree is walked together with the grammar, and
// tokens whose bytes may not come are ruled out.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "loci/loci.h"
#include "text/grammar.h"
#include "text/token_trie.h"

namespace loci {

// Which tokens may come in which state of a grammar. States come back, inside a string at every character, so what was
// found is kept; requests of the same grammar share it. Made anywhere, used by the engine's thread alone. Cost: a walk
// over the tree for a new state, a look-up for one that was met; a bit per token and state. The walk has a budget of
// steps: a grammar that is in very many places at once is an error, not a stop of all others.
class GrammarMasks {
 public:
  using Mask = std::vector<uint64_t>;  // a bit per token that may come

  GrammarMasks(Grammar grammar, std::shared_ptr<const TokenTrie> tokens)
      : grammar_(std::move(grammar)), tokens_(std::move(tokens)) {}

  const Grammar& grammar() const { return grammar_; }
  const TokenTrie& tokens() const { return *tokens_; }
  // Valid until the next call. kLimit if the budget is used up.
  Result<const Mask*> of(const GrammarState& state);

 private:
  static constexpr size_t kMostMasks = 128;
  static constexpr uint64_t kMostSteps = 10'000'000;
  // False: `left` steps were not enough.
  bool walk(const TokenTrie::Node& node, const GrammarState& state, Mask& mask, uint64_t& left) const;

  Grammar grammar_;
  std::shared_ptr<const TokenTrie> tokens_;
  std::map<std::array<uint64_t, 2>, Mask> masks_;
};

// One answer's way through the grammar.
class GrammarConstraint final : public Constraint {
 public:
  explicit GrammarConstraint(std::shared_ptr<GrammarMasks> masks)
      : masks_(std::move(masks)), state_(masks_->grammar()) {}

  Status mask(std::span<float> logits) override;
  void accept(TokenId token) override;
  bool complete() const override { return state_.complete() && !state_.open(); }

 private:
  std::shared_ptr<GrammarMasks> masks_;
  GrammarState state_;
};

}  // namespace loci
