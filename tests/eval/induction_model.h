// A model by construction: two attention layers whose weights are written by hand so that it says what followed the
// last token where it stood before. No training, no noise: whether a plan kept a needle is a question of yes or no.
//
// This is the induction circuit that the hand-wired recall model of Zoology (arXiv:2312.04927) makes explicit. Layer 0
// reads the token before each one, by position: its query turned back by one step under RoPE meets its key at distance
// 1 alone. Layer 1 reads what followed an earlier copy of the token, by content, in dimensions that RoPE leaves alone:
// distance means nothing to it. Codes of tokens are the rows of a Hadamard matrix and their opposites, so that tokens
// that differ never match. Frequencies of layer 0 reach wavelengths of 34 million tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "loci/types.h"

namespace loci::test {

struct InductionModel {
  static constexpr uint32_t kTokens = 64;   // "A" to "Z", "a" to "z", "0" to "9", "+", "/"
  static constexpr uint32_t kFillers = 48;  // of them, for what stands around a needle
  static constexpr uint32_t kHeadDim = 64;
  static constexpr uint32_t kContext = 1U << 24;

  // A GGUF file of the llama architecture, fp32, about 200 KB.
  static std::vector<std::byte> gguf();
};

// Random fillers with a needle (a key and the values behind it) somewhere, and the key again at the end. Right is the
// answer that repeats the values.
struct InductionPrompt {
  std::vector<TokenId> tokens;
  std::vector<TokenId> answer;
};
// `position` of the key in a prompt of `length` tokens; 1 <= position, position + values + 1 < length.
InductionPrompt induction_prompt(uint32_t length, uint32_t position, uint32_t values, uint32_t seed);

}  // namespace loci::test
