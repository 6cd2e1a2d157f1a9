#include "text/token_trie.h"

#include <algorithm>

namespace loci {

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : bytes_(tokenizer.vocab_size()), nodes_(1) {
  std::vector<TokenId> sorted;
  for (size_t i = 0; i < bytes_.size(); ++i) {
    const auto token = static_cast<TokenId>(i);
    if (tokenizer.is_end(token)) {
      ends_.push_back(token);
      continue;
    }
    const Result<std::string> piece = tokenizer.piece(token, /*special=*/false);
    if (!piece.ok() || piece->empty() || piece->size() > kMostBytes) continue;
    bytes_[i] = *piece;
    sorted.push_back(token);
  }
  std::sort(sorted.begin(), sorted.end(), [&](TokenId a, TokenId b) { return bytes(a) < bytes(b); });
  build(0, sorted, 0);
}

// `sorted` share their first `depth` bytes.
void TokenTrie::build(uint32_t node, std::span<const TokenId> sorted, size_t depth) {
  nodes_[node].first_token = static_cast<uint32_t>(tokens_.size());
  size_t at = 0;
  for (; at < sorted.size() && bytes(sorted[at]).size() == depth; ++at) tokens_.push_back(sorted[at]);
  nodes_[node].token_count = static_cast<uint16_t>(at);
  const auto byte_of = [&](TokenId token) { return static_cast<uint8_t>(bytes(token)[depth]); };
  std::vector<std::span<const TokenId>> groups;
  while (at < sorted.size()) {
    size_t end = at + 1;
    while (end < sorted.size() && byte_of(sorted[end]) == byte_of(sorted[at])) ++end;
    groups.push_back(sorted.subspan(at, end - at));
    at = end;
  }
  const auto first = static_cast<uint32_t>(nodes_.size());
  nodes_[node].first_child = first;
  nodes_[node].children = static_cast<uint16_t>(groups.size());
  for (const auto& group : groups) nodes_.push_back({.byte = byte_of(group[0])});
  for (size_t i = 0; i < groups.size(); ++i) build(first + static_cast<uint32_t>(i), groups[i], depth + 1);
}

}  // namespace loci
