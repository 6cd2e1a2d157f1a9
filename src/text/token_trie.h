// All tokens of a vocabulary by their bytes: a tree in which tokens that begin alike share a way, so that a question
// about every token's bytes costs a walk over the tree and not over the vocabulary. Immutable; any thread. Cost: some
// 12 bytes for each byte that is not shared.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace loci {

class TokenTrie {
 public:
  static constexpr size_t kMostBytes = 256;  // longer tokens are in no place

  struct Node {
    uint8_t byte = 0;
    uint32_t first_child = 0;  // children lie side by side
    uint16_t children = 0;
    uint32_t first_token = 0;  // of tokens(), those that end here
    uint16_t token_count = 0;
  };

  // Of the tokens that are text: special ones are in no place.
  explicit TokenTrie(const Tokenizer& tokenizer);

  const Node& root() const { return nodes_[0]; }
  std::span<const Node> children(const Node& node) const { return {nodes_.data() + node.first_child, node.children}; }
  std::span<const TokenId> tokens(const Node& node) const {
    return {tokens_.data() + node.first_token, node.token_count};
  }
  const std::string& bytes(TokenId token) const { return bytes_[static_cast<size_t>(token)]; }  // empty: no text
  std::span<const TokenId> end_tokens() const { return ends_; }                                 // that end a text
  size_t vocabulary() const { return bytes_.size(); }

 private:
  void build(uint32_t node, std::span<const TokenId> sorted, size_t depth);

  std::vector<std::string> bytes_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;
  std::vector<TokenId> ends_;
};

}  // namespace loci
