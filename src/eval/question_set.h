// Questions about documents, as RULER's qa tasks read them: SQuAD's and HotpotQA's JSON, which the user has.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

struct QuestionSet {
  struct Question {
    std::string text;
    std::vector<std::string> answers;
    std::vector<size_t> documents;  // that it is about
    std::vector<size_t> related;    // the first to be added as a haystack
  };
  std::vector<std::string> documents;  // sorted, each once
  std::vector<Question> questions;     // in the file's order
};

// SQuAD 2.0; questions marked impossible are left out. kCorrupt if the text is something else.
Result<QuestionSet> parse_squad(std::string_view json);
// HotpotQA, distractor setting. kCorrupt if the text is something else.
Result<QuestionSet> parse_hotpotqa(std::string_view json);

}  // namespace loci
