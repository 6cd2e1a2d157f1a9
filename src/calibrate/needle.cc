#include "calibrate/needle.h"

#include <algorithm>

namespace loci {

Result<Needle> locate_needle(const Tokenizer& tokenizer, SubjectPrompt prompt, const std::string& value) {
  LOCI_TRY(std::vector<TokenId> ids, tokenizer.encode(" " + value, {.add_special = false}));
  // A blank that is a token of its own is no part of the answer.
  while (ids.size() > 1) {
    LOCI_TRY(const std::string piece, tokenizer.piece(ids.front()));
    if (piece.find_first_not_of(' ') != std::string::npos) break;
    ids.erase(ids.begin());
  }
  const auto at = std::search(prompt.tokens.begin(), prompt.tokens.end(), ids.begin(), ids.end());
  if (at == prompt.tokens.end()) {
    return fail(
        ErrorCode::kUnsupported,
        "the vocabulary merges the answer '{}' with its neighbours, so its tokens cannot be found in the prompt",
        value);
  }
  const auto first = static_cast<uint32_t>(at - prompt.tokens.begin());
  return Needle{.prompt = std::move(prompt.tokens),
                .question = prompt.question,
                .first = first,
                .count = static_cast<uint32_t>(ids.size())};
}

double recall(const Needle& needle, std::span<const TokenId> answer) {
  std::vector<TokenId> left(answer.begin(), answer.end());
  uint32_t found = 0;
  for (uint32_t i = 0; i < needle.count; ++i) {
    const auto at = std::find(left.begin(), left.end(), needle.prompt[needle.first + i]);
    if (at == left.end()) continue;
    left.erase(at);
    ++found;
  }
  return static_cast<double>(found) / needle.count;
}

}  // namespace loci
