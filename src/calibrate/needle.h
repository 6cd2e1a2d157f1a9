// Questions whose answer stands word for word in the prompt: what calibrations that look for copying heads ask.
#pragma once

#include <span>
#include <vector>

#include "calibrate/subject.h"

namespace loci {

struct Needle {
  std::vector<TokenId> prompt;  // up to where the answer begins
  uint32_t question = 0;        // where the question's tokens begin
  uint32_t first = 0;           // the answer's tokens in the prompt: [first, first + count)
  uint32_t count = 0;
};

// `value` as it stands in the prompt. kUnsupported if its tokens do not: they merge with their neighbours.
Result<Needle> locate_needle(const Tokenizer& tokenizer, SubjectPrompt prompt, const std::string& value);

// The share of the needle's tokens that the answer holds, each counted as often as it stands in both: ROUGE-1 recall.
double recall(const Needle& needle, std::span<const TokenId> answer);

inline constexpr double kEnoughRecall = 0.5;  // an answer that recalls more has found the needle

}  // namespace loci
