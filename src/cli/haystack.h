// A needle in a haystack: one sentence with a made-up number, hidden in the sentences of a book, and the question for
// it. The form is RULER's niah_single_2 (arXiv 2404.06654), which the reference model was trained on. Deterministic in
// the seed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "eval/suite.h"

namespace loci {

struct Haystack {
  std::string prompt;  // instruction, text with the needle, question, and the answer's beginning
  std::string needle;  // the hidden sentence
  std::string question;
  std::string key;    // what the question asks for: "steady-fox"
  std::string value;  // the right answer: seven digits
};

struct HaystackOptions {
  uint32_t tokens = 32768;  // of the prompt and the answer, at most
  uint32_t answer_tokens = 16;
  double depth = 0.5;  // where the needle stands: 0 first sentence, 1 last
  uint64_t seed = 0;
};

// kLimit if the book is too short for so many tokens, or there are too few tokens for the question alone.
Result<Haystack> make_haystack(std::string_view book, const HaystackOptions& options, const CountTokens& count_tokens);

}  // namespace loci
