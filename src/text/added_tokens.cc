#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace loci {
namespace {

constexpr size_t kMaxTokenBytes = 1024;

// Start of the last character of `text`, which is valid UTF-8 and not empty.
size_t last_char(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

// Where the white space that ends `text` begins, at `from` at the earliest.
size_t trailing_space(std::string_view text, size_t from) {
  size_t end = text.size();
  while (end > from) {
    const size_t at = last_char(text.substr(0, end));
    if (at < from || !is_whitespace(utf8_at(text, at).code)) break;
    end = at;
  }
  return end;
}

size_t leading_space(std::string_view text, size_t from) {
  while (from < text.size() && is_whitespace(utf8_at(text, from).code)) from += utf8_at(text, from).length;
  return from;
}

}  // namespace

AddedTokens::AddedTokens() : nodes_(1), starts_(256, false) {}

Result<AddedTokens> AddedTokens::build(std::vector<AddedToken> tokens) {
  AddedTokens added;
  added.tokens_ = std::move(tokens);
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const std::string& text = added.tokens_[i].text;
    if (text.size() > kMaxTokenBytes) {
      return fail(ErrorCode::kLimit, "added token {} has {} bytes, at most {} are allowed", added.tokens_[i].id,
                  text.size(), kMaxTokenBytes);
    }
    if (!text.empty()) added.insert(text, static_cast<int32_t>(i));
  }
  return added;
}

void AddedTokens::insert(std::string_view text, int32_t index) {
  starts_[static_cast<uint8_t>(text[0])] = true;
  uint32_t node = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    auto& children = nodes_[node].children;
    const auto at = std::lower_bound(children.begin(), children.end(), std::pair<uint8_t, uint32_t>(byte, 0));
    if (at != children.end() && at->first == byte) {
      node = at->second;
    } else {
      const auto next = static_cast<uint32_t>(nodes_.size());
      children.insert(at, {byte, next});
      nodes_.emplace_back();
      node = next;
    }
  }
  if (nodes_[node].token < 0) nodes_[node].token = index;
}

const AddedToken* AddedTokens::longest_at(std::string_view text, size_t at) const {
  const AddedToken* best = nullptr;
  uint32_t node = 0;
  for (; at < text.size(); ++at) {
    const auto byte = static_cast<uint8_t>(text[at]);
    const auto& children = nodes_[node].children;
    const auto child = std::lower_bound(children.begin(), children.end(), std::pair<uint8_t, uint32_t>(byte, 0));
    if (child == children.end() || child->first != byte) break;
    node = child->second;
    if (nodes_[node].token >= 0) best = &tokens_[static_cast<size_t>(nodes_[node].token)];
  }
  return best;
}

bool AddedTokens::stands_alone(std::string_view text, size_t begin, size_t end) const {
  const bool word_before = begin > 0 && is_word(utf8_at(text, last_char(text.substr(0, begin))).code);
  const bool word_after = end < text.size() && is_word(utf8_at(text, end).code);
  return !word_before && !word_after;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, bool read_special) const {
  std::vector<Part> parts;
  size_t plain = 0;  // where the text since the last token begins
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = starts_[static_cast<uint8_t>(text[at])] ? longest_at(text, at) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->text.size();
    at = end;
    if (token->special && !read_special) continue;
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    if (token->left_strip) begin = trailing_space(text.substr(0, begin), plain);
    if (token->right_strip) at = end = leading_space(text, end);
    if (plain < begin) parts.push_back({text.substr(plain, begin - plain), nullptr});
    parts.push_back({text.substr(begin, end - begin), token});
    plain = end;
  }
  if (plain < text.size()) parts.push_back({text.substr(plain), nullptr});
  return parts;
}

}  // namespace loci
