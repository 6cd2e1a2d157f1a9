// A regular expression of a pre-tokenizer, compiled once and matched by any number of threads. Patterns are written in
// the dialect of tokenizer.json (Oniguruma) and translated to PCRE2's where the two differ.
//
// Patterns that Loci itself names are compiled to machine code and take linear time. Others come with model files: they
// run under a bound of steps that grows with the text, so a pattern that backtracks wildly is an error, not a hang.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace loci {

class Pattern {
 public:
  // kUnsupported names the pattern and where it leaves what can be translated.
  static Result<Pattern> compile(std::string_view source);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // One per thread: what a match writes to.
  class Matcher {
   public:
    explicit Matcher(const Pattern& pattern);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;

    // Appends [begin, end) of every match in `subject` (valid UTF-8), left to right. kLimit if the bound is passed.
    Status find_all(std::string_view subject, std::vector<std::pair<uint32_t, uint32_t>>& matches);

   private:
    struct State;
    const Pattern& pattern_;
    std::unique_ptr<State> state_;
  };

 private:
  struct Compiled;
  explicit Pattern(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace loci
