// Where a text without pre-tokenizer may be cut before merging without changing the result: before a word's marker, if
// no token holds that marker right after the character before it. Keeps merging within words, where it is fast.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>

namespace loci {

class WordBorders {
 public:
  // `marker` begins words: " " or "\u2581".
  explicit WordBorders(std::string marker) : marker_(std::move(marker)) {}
  // Learns from every token that merging can produce.
  void add_token(std::string_view token);
  // Length of the first part of `text` (not empty) that can be encoded on its own.
  size_t first_part(std::string_view text) const;

 private:
  std::string marker_;
  std::unordered_set<char32_t> glued_;  // characters that some token holds right before a marker
};

}  // namespace loci
