// What is done to text before it is cut: Unicode normal forms, replacements, the leading space of SentencePiece. A
// chain of steps, immutable once built; any thread may use it. Linear time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "text/pattern.h"

namespace loci {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
struct LowercaseStep {};
struct PrependStep {
  std::string text;
};
struct ReplaceStep {
  std::string text;                  // what to replace, unless there is a pattern
  std::shared_ptr<Pattern> pattern;  // shared by copies of the step
  std::string content;
};
struct StripStep {
  bool left = false, right = false;
};
using NormalizerStep = std::variant<NormalForm, LowercaseStep, PrependStep, ReplaceStep, StripStep>;

class Normalizer {
 public:
  void add(NormalizerStep step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  // `text` is valid UTF-8.
  Result<std::string> run(std::string_view text) const;

 private:
  std::vector<NormalizerStep> steps_;
};

// `text` in one of Unicode's normal forms, as the reference tokenizers know them: younger characters stay as they are.
// Linear for runs of combining marks of any length (up to a logarithm).
std::string normal_form(std::string_view text, NormalForm form);

}  // namespace loci
