// A language over bytes, asked step by step: which byte may come next, given those that came.
//
// A Grammar is a set of rules, each a small graph of nodes: take a byte of a class, call another rule, go one of
// several ways, return. It can describe nested structures, such as JSON. A GrammarState is the set of all places where
// a reader of the text so far may be, each with the calls that it came through. Both are bounded: a grammar in nodes, a
// state in places and in the depth of its calls. Where a bound cuts places off, less is allowed than the grammar
// allows, never more. Grammar: immutable once built, any thread. GrammarState: values.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

class Grammar {
 public:
  using Node = uint32_t;
  using Bytes = std::bitset<256>;
  static constexpr size_t kMostNodes = 100'000;
  static constexpr Node kReturn = 0;  // the end of a rule

  Grammar() : nodes_(1) {}

  // Each gives a node that goes on at `next`.
  Node take(const Bytes& bytes, Node next);
  Node text(std::string_view bytes, Node next);
  Node call(uint32_t rule, Node next);
  Node any_of(std::vector<Node> ways);
  // `part` built by `make(next)` at least `least` and at most `most` times (UINT32_MAX: any number).
  template <typename Make>
  Node repeat(uint32_t least, uint32_t most, Node next, const Make& make);

  // Rules may be called before they are defined.
  uint32_t new_rule();
  void define(uint32_t rule, Node start) { rules_[rule] = start; }
  void set_start(Node start) { start_ = start; }

  // kLimit if the bound on nodes was passed; then what was built is of no use.
  Status check() const;
  // Whether some finite text is of the rule, for each of them. A rule of which none is leads nowhere.
  std::vector<bool> finite_rules() const;
  size_t size() const { return nodes_.size(); }

 private:
  friend class GrammarState;
  enum class Kind : uint8_t { kReturn, kTake, kCall, kWays };
  struct One {
    Kind kind = Kind::kReturn;
    uint32_t what = 0;   // a class of bytes, a rule, or where the ways begin
    uint32_t count = 0;  // of the ways
    Node next = kReturn;
  };
  Node add(One one);

  std::vector<One> nodes_;
  std::vector<Bytes> classes_;
  std::vector<Node> ways_;
  std::vector<Node> rules_;
  Node start_ = kReturn;
};

class GrammarState {
 public:
  static constexpr size_t kMostPlaces = 512;
  static constexpr uint32_t kMostDepth = 256;

  // Before the first byte. The grammar outlives it.
  explicit GrammarState(const Grammar& grammar);

  // Takes a byte. False if it may not come here; then the state has no place left.
  bool take(uint8_t byte);
  bool dead() const { return places_.empty() && !complete_; }
  // The text so far is a whole one.
  bool complete() const { return complete_; }
  // Something may follow.
  bool open() const { return !places_.empty(); }
  // Equal fingerprints: the same texts may follow, but for collisions of 128 bits.
  std::array<uint64_t, 2> fingerprint() const;
  // Nodes and places looked at since the text began: what it has cost so far.
  uint64_t steps() const { return steps_; }

 private:
  // The nodes to return to, the last call first. Shared by places.
  struct Frame {
    Grammar::Node back;
    std::shared_ptr<const Frame> outer;
    uint32_t depth;
    std::array<uint64_t, 2> hash;
  };
  using Stack = std::shared_ptr<const Frame>;
  struct Place {
    Grammar::Node node;  // that takes a byte
    Stack stack;
  };

  void enter(Grammar::Node node, const Stack& stack);

  const Grammar* grammar_;
  std::vector<Place> places_;
  bool complete_ = false;
  uint64_t steps_ = 0;
};

template <typename Make>
Grammar::Node Grammar::repeat(uint32_t least, uint32_t most, Node next, const Make& make) {
  Node at = next;
  if (most == UINT32_MAX) {
    // A rule that calls itself behind each part.
    const uint32_t rule = new_rule();
    define(rule, any_of({make(call(rule, kReturn)), kReturn}));
    at = call(rule, next);
  } else {
    for (uint32_t i = least; i < most && nodes_.size() < kMostNodes; ++i) at = any_of({make(at), next});
  }
  for (uint32_t i = 0; i < least && nodes_.size() < kMostNodes; ++i) at = make(at);
  return at;
}

}  // namespace loci
