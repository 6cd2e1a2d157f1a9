// Which layers and heads an answer of a plan is for: "@4-27", "@0,2-5:h3".
//
// Plain data; any thread. Sets are ranges in ascending order that neither touch nor overlap.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace loci {

// Numbers first..last, both included.
struct IdRange {
  static constexpr uint32_t kOpen = std::numeric_limits<uint32_t>::max();  // as last: to the end

  uint32_t first = 0;
  uint32_t last = kOpen;

  auto operator<=>(const IdRange&) const = default;
};

class IdSet {
 public:
  IdSet() = default;  // everything
  explicit IdSet(std::vector<IdRange> ranges);

  bool all() const { return ranges_.empty(); }
  bool contains(uint32_t id) const;
  // The lowest number in both, if any.
  std::optional<uint32_t> first_common(const IdSet& other) const;
  // The highest number that is named; 0 if there is none.
  uint32_t highest() const;
  // "0,2-5,9-"; empty for everything.
  std::string text() const;
  const std::vector<IdRange>& ranges() const { return ranges_; }

  auto operator<=>(const IdSet&) const = default;

 private:
  std::vector<IdRange> ranges_;
};

struct Scope {
  IdSet layers;
  IdSet heads;  // KV heads; query heads in the stage mix

  bool all() const { return layers.all() && heads.all(); }
  bool contains(uint32_t layer, uint32_t head) const { return layers.contains(layer) && heads.contains(head); }
  bool meets(const Scope& other) const {
    return layers.first_common(other.layers).has_value() && heads.first_common(other.heads).has_value();
  }
  // "@0,2-5:h3", "@:h3" for head 3 of all layers; empty for everything.
  std::string text() const;

  auto operator<=>(const Scope&) const = default;
};

}  // namespace loci
