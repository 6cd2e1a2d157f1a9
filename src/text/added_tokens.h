// Tokens that are found in the text before anything else: control tokens ("<|im_end|>") and text that is never cut. At
// each position the longest wins. Immutable once built; any thread may use it. Time is linear in the text (times the
// longest token, which is bounded).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "loci/types.h"

namespace loci {

struct AddedToken {
  TokenId id = -1;
  std::string text;
  bool special = false;      // plain text where special tokens are not read
  bool left_strip = false;   // takes the white space before it along
  bool right_strip = false;  // and after it
  bool single_word = false;  // only where no word goes on
};

class AddedTokens {
 public:
  // kLimit names a token that is too long. Tokens without text are never found; of equal ones the first counts.
  static Result<AddedTokens> build(std::vector<AddedToken> tokens);
  AddedTokens();

  struct Part {
    std::string_view text;
    const AddedToken* token;  // nullptr: text between tokens
  };
  // `text` as consecutive parts, none empty. `read_special`: special tokens count.
  std::vector<Part> split(std::string_view text, bool read_special) const;
  bool empty() const { return tokens_.empty(); }

 private:
  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> children;  // sorted by byte
    int32_t token = -1;
  };
  void insert(std::string_view text, int32_t index);
  const AddedToken* longest_at(std::string_view text, size_t at) const;
  bool stands_alone(std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::vector<bool> starts_;  // bytes that some token begins with
};

}  // namespace loci
