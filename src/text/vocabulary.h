// What every token stands for when text is made from it. The models that find tokens keep their own tables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loci/types.h"

namespace loci {

// In the numbering of GGUF files.
enum class TokenKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,      // stands for what has no token
  kControl = 3,      // never text of its own: "<|im_end|>"
  kUserDefined = 4,  // text that is never cut: found before all merging
  kUnused = 5,
  kByte = 6,
};

struct Vocabulary {
  std::vector<std::string> bytes;  // as they appear in text; for control and unknown tokens, their name
  std::vector<TokenKind> kinds;

  size_t size() const { return bytes.size(); }
  bool contains(int64_t id) const { return id >= 0 && static_cast<uint64_t>(id) < bytes.size(); }
  bool is_special(TokenId id) const {
    const TokenKind kind = kinds[static_cast<size_t>(id)];
    return kind == TokenKind::kControl || kind == TokenKind::kUnknown;
  }
};

}  // namespace loci
