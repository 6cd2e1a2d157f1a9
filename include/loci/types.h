// Plain data that crosses the public API.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace loci {

using TokenId = int32_t;

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

// A named range of a prompt's tokens: [first, first + count). Methods that treat a document and a question differently
// read it.
struct LabelledSpan {
  std::string label;  // "system", "document", "question", "image", "tool", or the caller's own
  uint32_t first = 0;
  uint32_t count = 0;
};

}  // namespace loci
