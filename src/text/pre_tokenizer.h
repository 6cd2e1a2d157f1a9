// Cuts text into the pieces inside which tokens are merged. A pre-tokenizer is a chain of steps, each cutting the
// pieces of the one before; offsets are bytes. Immutable once built, any thread may use it with its own Workspace.
// Linear time for the steps that Loci names itself.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"
#include "text/pattern.h"

namespace loci {

// What becomes of the text that a step matched (the names of tokenizer.json).
enum class SplitBehavior { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };

struct SplitStep {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what the pattern does not match counts as matched
};
struct DigitsStep {
  bool individual = false;
};
struct PunctuationStep {
  SplitBehavior behavior = SplitBehavior::kIsolated;
};
// From here on the model reads bytes in the byte-level alphabet; steps after this one see that alphabet too.
struct ByteLevelStep {};
// Every piece that does not begin with a space gets one.
struct PrefixSpaceStep {};
struct MetaspaceStep {
  enum class Prepend { kNever, kFirst, kAlways };
  std::string replacement = "\u2581";
  Prepend prepend = Prepend::kAlways;
  bool split = true;  // before every replacement
};
using PreTokenizerStep =
    std::variant<SplitStep, DigitsStep, PunctuationStep, ByteLevelStep, PrefixSpaceStep, MetaspaceStep>;

// Text cut into consecutive pieces: piece i is [ends[i - 1], ends[i]).
struct Pieces {
  std::string text;
  std::vector<uint32_t> ends;
};

class PreTokenizer {
 public:
  void add(PreTokenizerStep step);
  bool byte_level() const;  // whether a ByteLevelStep is among the steps

  struct Workspace {
    std::vector<std::unique_ptr<Pattern::Matcher>> matchers;  // one for each step that has a pattern
    std::vector<std::pair<uint32_t, uint32_t>> matches;
  };
  Workspace workspace() const;

  // Cuts `pieces`, which comes as one piece. `first`: it begins the whole text.
  Status run(Pieces& pieces, bool first, Workspace& workspace) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

}  // namespace loci
