// How the executor deals work to workers, and what became of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "attention/tiles.h"

namespace loci {

enum class Schedule : uint8_t {
  kStream,  // like runs of items over all walks, whatever their lengths (stream-K, LeanAttention)
  kSplit,   // equal numbers of walks, each cut into as many parts as give every worker one: a fixed split
};

// Added up over runs.
struct ScheduleTimes {
  double wall = 0;           // seconds of running, of all workers together
  std::vector<double> busy;  // by worker: seconds of them in which it worked
};

// Consecutive items, counted over all tiles. Workers take ranges in their order, each the next one when it is free.
struct ItemRange {
  uint64_t first = 0;
  uint64_t last = 0;
  uint32_t first_tile = 0;
};

// Rounds of ranges that cut_stream() makes at most, if borders inside tiles are dear or cheap.
inline constexpr uint32_t kStreamRounds = 4;
inline constexpr uint32_t kManyStreamRounds = 8;

// Appends ranges that cover all items of `tiles` in ascending order, and marks the tiles that a border falls into.
// Ranges come in rounds of one for each worker; a round has half of the items that are left, so that the last ranges,
// in which a worker may wait for another, are short. Tiles that are many and of like length stay whole.
void cut_stream(std::span<Tile> tiles, uint64_t workers, bool cheap_borders, std::vector<ItemRange>& ranges);

// Cuts every tile into so many equal parts that each worker gets one, and deals the parts out in equal numbers: one
// range a worker.
void cut_split(std::span<Tile> tiles, uint64_t workers, std::vector<ItemRange>& ranges);

}  // namespace loci
