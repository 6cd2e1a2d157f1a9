// Ends a text that arrives in pieces before the first stop string.
//
// The stop string whose last byte comes first wins; of several that end there, the longest. Text that may still turn
// out to begin a stop string is held back, no more of it than that: what has been shown never has to be taken back, and
// the outcome does not depend on how the text was cut into pieces. If the pieces end on whole UTF-8 characters, so does
// what is shown. One automaton for all strings (Aho and Corasick 1975): time linear in the text. One thread at a time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

class StopStrings {
 public:
  static constexpr size_t kMaxBytes = 65536;  // of all strings together

  // kInvalidArgument for an empty string or one that begins within a UTF-8 character, kLimit beyond kMaxBytes. No
  // strings at all is fine: nothing stops, nothing is held back.
  static Result<StopStrings> make(std::span<const std::string> strings);

  // Takes more text; returns what may be shown now. After a match it returns nothing.
  std::string push(std::string_view text);
  // Returns what is held back, when no more text comes.
  std::string finish();
  // Forgets the text; the strings stay.
  void reset();

  // Index of the string that ended the text.
  std::optional<size_t> match() const { return match_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct State {
    uint32_t first_child = kNone;
    uint32_t next_sibling = kNone;
    uint32_t fail = 0;       // state of the longest proper suffix
    uint32_t depth = 0;      // bytes of the prefix that this state stands for
    uint32_t match = kNone;  // longest string that ends here
    uint8_t byte = 0;
  };

  StopStrings() : states_(1) { root_.fill(0); }
  uint32_t child(uint32_t state, uint8_t byte) const;
  uint32_t step(uint32_t state, uint8_t byte) const;
  void add(std::string_view string, uint32_t index);
  void link();

  std::vector<State> states_;       // 0 is the root
  std::array<uint32_t, 256> root_;  // children of the root, 0 if none
  std::vector<uint32_t> lengths_;   // of the strings
  std::string held_;
  uint32_t state_ = 0;
  std::optional<size_t> match_;
};

}  // namespace loci
