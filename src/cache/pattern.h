// A closed set of a sequence's positions, evaluated from the reader's own position: what a sliding window, sinks with a
// window, or an eviction at a fixed place leave to be read. Plain data; any thread.
#pragma once

#include <algorithm>
#include <cstdint>

namespace loci {

// The first `sinks` positions; of the others the last `window` up to the reader's own, none of them below `floor`.
struct Pattern {
  uint32_t sinks = 0;
  uint32_t window = 0;   // positions, the reader's own included; 0: all
  uint32_t granule = 1;  // the window's lower edge moves in steps of this many positions
  uint32_t floor = 0;    // what lies between the sinks and here is gone

  // Everything up to the reader's own position.
  bool dense() const { return window == 0 && floor <= sinks; }
  // The lowest position behind the sinks that the reader at `position` sees.
  uint32_t oldest(uint32_t position) const {
    const uint64_t end = (uint64_t{position} / granule + 1) * granule;
    const uint64_t edge = window == 0 || end < window ? 0 : end - window;
    return std::max({sinks, floor, static_cast<uint32_t>(edge)});
  }
  // Positions that the reader at `position` sees.
  uint32_t count(uint32_t position) const {
    const uint32_t first = std::min(sinks, position + 1);
    const uint32_t low = oldest(position);
    return first + (position + 1 > low ? position + 1 - low : 0);
  }
  // What is left for later readers when the reader at `position` has read and all that it did not see was given back.
  Pattern evicted(uint32_t position) const { return {.sinks = sinks, .floor = oldest(position)}; }

  bool operator==(const Pattern&) const = default;
};

// The positions in both. One of them is dense, or their sinks are equal.
inline Pattern intersection(const Pattern& a, const Pattern& b) {
  if (a.dense()) return b;
  if (b.dense()) return a;
  Pattern out = a;
  out.sinks = std::min(a.sinks, b.sinks);
  out.floor = std::max(a.floor, b.floor);
  if (b.window > 0 && (a.window == 0 || b.window < a.window)) {
    out.window = b.window;
    out.granule = b.granule;
  }
  return out;
}

// A set that holds both: what several methods keep of one head.
inline Pattern cover(const Pattern& a, const Pattern& b) {
  if (a.dense() || b.dense()) return {};
  Pattern out;
  out.sinks = std::max(a.sinks, b.sinks);
  out.floor = std::min(a.floor, b.floor);
  out.window = a.window == 0 || b.window == 0 ? 0 : std::max(a.window + a.granule, b.window + b.granule) - 1;
  return out;
}

}  // namespace loci
