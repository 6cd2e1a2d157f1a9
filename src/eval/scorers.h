// How an answer becomes a score in [0, 1], as published with each suite.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace loci {

enum class Scorer {
  kAll,            // RULER string_match_all: the share of the references that occur, case aside
  kPart,           // RULER string_match_part: 1 if any does
  kFirstInteger,   // passkey: the first number in the answer is the reference
  kContains,       // key-value retrieval, NeedleBench: the share of the references that occur as they are
  kWord,           // InfiniteBench's pairs: the reference is a word, punctuation counting as blanks
  kFirstNumber,    // InfiniteBench's lists: the first number, a fraction perhaps, equals the reference
  kLastInteger,    // InfiniteBench's code: the last word is the reference as an integer
  kBoxed,          // NeedleBench: what stands in the last \boxed{} is the reference
  kCurrentValues,  // PI-LLM: the share of the keys whose last told value is the reference's
  kBegins,         // counterfactual: the answer begins with the reference, case aside
  kNearness,       // icl-regression: 1 at the first reference, 0 as far from it as the second one says, or farther
  kFirstLetter,    // order, sort: the first letter of the answer is the reference
  // Of the user's own questions, the best of the references: text_metrics.h.
  kWordF1,
  kRougeL,
  kEditSimilarity,
};

const char* to_string(Scorer scorer);
double score_answer(Scorer scorer, std::string_view answer, const std::vector<std::string>& references);

}  // namespace loci
