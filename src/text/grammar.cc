#include "text/grammar.h"

#include <algorithm>

namespace loci {

Grammar::Node Grammar::add(One one) {
  if (nodes_.size() < kMostNodes + 1) nodes_.push_back(one);
  return static_cast<Node>(nodes_.size() - 1);
}

Grammar::Node Grammar::take(const Bytes& bytes, Node next) {
  const auto found = std::find(classes_.begin(), classes_.end(), bytes);
  const auto index = static_cast<uint32_t>(found - classes_.begin());
  if (found == classes_.end()) classes_.push_back(bytes);
  return add({.kind = Kind::kTake, .what = index, .count = 0, .next = next});
}

Grammar::Node Grammar::text(std::string_view bytes, Node next) {
  for (size_t i = bytes.size(); i > 0; --i) {
    Bytes one;
    one.set(static_cast<uint8_t>(bytes[i - 1]));
    next = take(one, next);
  }
  return next;
}

// A call that returns to a return needs no frame: so lists written as rules that end in themselves cost no depth.
Grammar::Node Grammar::call(uint32_t rule, Node next) {
  return add({.kind = Kind::kCall, .what = rule, .count = 0, .next = next});
}

Grammar::Node Grammar::any_of(std::vector<Node> ways) {
  if (ways.size() == 1) return ways[0];
  const auto first = static_cast<uint32_t>(ways_.size());
  if (ways_.size() + ways.size() <= 4 * kMostNodes) ways_.insert(ways_.end(), ways.begin(), ways.end());
  return add(
      {.kind = Kind::kWays, .what = first, .count = static_cast<uint32_t>(ways_.size() - first), .next = kReturn});
}

uint32_t Grammar::new_rule() {
  rules_.push_back(kReturn);
  return static_cast<uint32_t>(rules_.size() - 1);
}

Status Grammar::check() const {
  if (nodes_.size() <= kMostNodes && ways_.size() <= 4 * kMostNodes - 64) return {};
  return fail(ErrorCode::kLimit, "the schema is too large: its grammar has more than {} nodes", kMostNodes);
}

std::vector<bool> Grammar::finite_rules() const {
  std::vector<bool> rules(rules_.size(), false), nodes(nodes_.size(), false);
  // Nodes come after those that they go on at, but for rules, so few rounds are needed.
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes[i]) continue;
      const One& one = nodes_[i];
      bool finite = one.kind == Kind::kReturn;
      if (one.kind == Kind::kTake) finite = nodes[one.next];
      if (one.kind == Kind::kCall) finite = rules[one.what] && nodes[one.next];
      for (uint32_t w = 0; one.kind == Kind::kWays && w < one.count; ++w) finite = finite || nodes[ways_[one.what + w]];
      nodes[i] = finite;
      changed = changed || finite;
    }
    for (size_t r = 0; r < rules_.size(); ++r) {
      if (rules[r] || !nodes[rules_[r]]) continue;
      rules[r] = changed = true;
    }
  }
  return rules;
}

namespace {

std::array<uint64_t, 2> mix(std::array<uint64_t, 2> hash, uint64_t value) {
  const auto scramble = [](uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
  };
  return {scramble(hash[0] + 0x9e3779b97f4a7c15ULL + value), scramble(hash[1] ^ (value * 0xff51afd7ed558ccdULL + 1))};
}

}  // namespace

GrammarState::GrammarState(const Grammar& grammar) : grammar_(&grammar) { enter(grammar.start_, nullptr); }

// Adds every place that is reached from `node` without a byte.
void GrammarState::enter(Grammar::Node start, const Stack& from) {
  constexpr size_t kMostCalls = 64;  // that are remembered
  std::vector<std::pair<Grammar::Node, Stack>> todo = {{start, from}};
  // Calls without a byte between. Where a rule comes back to itself so, it has nothing new to say.
  std::vector<std::pair<uint32_t, const Frame*>> called;
  for (size_t steps = 0; !todo.empty() && steps < 64 * kMostPlaces; ++steps) {
    ++steps_;
    const Grammar::Node node = todo.back().first;
    const Stack stack = std::move(todo.back().second);
    todo.pop_back();
    const Grammar::One& one = grammar_->nodes_[node];
    switch (one.kind) {
      case Grammar::Kind::kReturn:
        if (stack == nullptr) {
          complete_ = true;
        } else {
          todo.emplace_back(stack->back, stack->outer);
        }
        break;
      case Grammar::Kind::kCall: {
        const Grammar::Node rule = grammar_->rules_[one.what];
        if (one.next == Grammar::kReturn) {
          const std::pair<uint32_t, const Frame*> call{one.what, stack.get()};
          if (std::find(called.begin(), called.end(), call) != called.end()) break;
          if (called.size() < kMostCalls) called.push_back(call);
          todo.emplace_back(rule, stack);
          break;
        }
        const uint32_t depth = stack == nullptr ? 1 : stack->depth + 1;
        if (depth > kMostDepth) break;
        const std::array<uint64_t, 2> outer = stack == nullptr ? std::array<uint64_t, 2>{1, 2} : stack->hash;
        todo.emplace_back(rule, std::make_shared<const Frame>(Frame{one.next, stack, depth, mix(outer, one.next)}));
        break;
      }
      case Grammar::Kind::kWays:
        for (uint32_t i = one.count; i > 0; --i) todo.emplace_back(grammar_->ways_[one.what + i - 1], stack);
        break;
      case Grammar::Kind::kTake: {
        const auto same = [&](const Place& place) {
          if (place.node != node) return false;
          if (place.stack == stack) return true;
          return place.stack != nullptr && stack != nullptr && place.stack->hash == stack->hash;
        };
        steps_ += places_.size() / 16;
        if (places_.size() < kMostPlaces && std::none_of(places_.begin(), places_.end(), same))
          places_.push_back({node, stack});
        break;
      }
    }
  }
}

bool GrammarState::take(uint8_t byte) {
  std::vector<Place> before;
  before.swap(places_);
  complete_ = false;
  steps_ += before.size();
  for (const Place& place : before) {
    const Grammar::One& one = grammar_->nodes_[place.node];
    if (grammar_->classes_[one.what].test(byte)) enter(one.next, place.stack);
  }
  return !dead();
}

std::array<uint64_t, 2> GrammarState::fingerprint() const {
  std::array<uint64_t, 2> out = {complete_ ? 7u : 3u, places_.size()};
  for (const Place& place : places_) {
    out = mix(out, place.node);
    if (place.stack != nullptr) out = mix(mix(out, place.stack->hash[0]), place.stack->hash[1]);
  }
  return out;
}

}  // namespace loci
