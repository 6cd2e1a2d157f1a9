// How well a model foresees tokens by where they stand: what a method forgets shows behind its window or budget.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

namespace loci {

// Tokens at positions [first, last] of their windows.
struct PositionBucket {
  uint32_t first = 0;
  uint32_t last = 0;
  uint64_t tokens = 0;
  double mean_nll = 0;  // nats
};

// The positions of what is scored of a text cut into windows: every token but a window's first, or of each window the
// last `decode` ones. window is at least 1.
std::vector<uint32_t> scored_positions(uint64_t tokens, uint64_t window, uint64_t decode);

// Positions 1 to 63, then 64 to 127, 128 to 255 and so on; empty buckets are left out. Equally many values.
std::vector<PositionBucket> position_curve(std::span<const float> nll, std::span<const uint32_t> positions);

nlohmann::ordered_json to_json(const PositionBucket& bucket);

}  // namespace loci
