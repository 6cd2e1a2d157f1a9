#include "attention/schedule.h"

#include <algorithm>

#include "base/checked.h"

namespace loci {
namespace {

constexpr uint64_t kWholeTilesFrom = 8;  // tiles per worker, of like length, from which tiles are not split

uint64_t all_items(std::span<const Tile> tiles) {
  return tiles.empty() ? 0 : tiles.back().items_before + tiles.back().items;
}

bool stay_whole(std::span<const Tile> tiles, uint64_t workers) {
  uint64_t longest = 0;
  for (const Tile& tile : tiles) longest = std::max<uint64_t>(longest, tile.items);
  return tiles.size() >= kWholeTilesFrom * workers && longest * tiles.size() <= 2 * all_items(tiles);
}

}  // namespace

void cut_stream(std::span<Tile> tiles, uint64_t workers, bool cheap_borders, std::vector<ItemRange>& ranges) {
  const uint64_t items = all_items(tiles);
  const bool whole = stay_whole(tiles, workers);
  const uint64_t rounds = workers == 1 ? 1 : whole || cheap_borders ? kManyStreamRounds : kStreamRounds;
  uint32_t tile = 0;
  uint64_t first = 0, given = 0;  // items up to the range's begin; up to the round's
  for (uint64_t round = 0; round < rounds; ++round) {
    const uint64_t share = round + 1 < rounds ? div_up(items - given, uint64_t{2}) : items - given;
    for (uint64_t worker = 1; worker <= workers && first < items; ++worker) {
      uint64_t last = given + share * worker / workers;
      const uint32_t range_tile = tile;
      while (tile + 1 < tiles.size() && tiles[tile + 1].items_before <= last) ++tile;
      if (whole && last < items) last = tiles[tile].items_before;
      if (last <= first) {
        tile = range_tile;
        continue;
      }
      ranges.push_back({first, last, range_tile});
      if (last > tiles[tile].items_before && last < items) tiles[tile].split = true;
      first = last;
    }
    given += share;
  }
}

void cut_split(std::span<Tile> tiles, uint64_t workers, std::vector<ItemRange>& ranges) {
  if (tiles.empty()) return;
  const uint64_t items = all_items(tiles);
  const uint64_t parts = div_up(workers, static_cast<uint64_t>(tiles.size())), units = tiles.size() * parts;
  uint64_t first = 0;
  for (uint64_t worker = 0; worker < workers; ++worker) {
    const uint64_t end = units * (worker + 1) / workers;
    const bool inside = end % parts != 0;
    const uint64_t last =
        end == units ? items : tiles[end / parts].items_before + tiles[end / parts].items * (end % parts) / parts;
    if (last <= first) continue;
    ranges.push_back({first, last, static_cast<uint32_t>(units * worker / workers / parts)});
    if (inside && last > tiles[end / parts].items_before) tiles[end / parts].split = true;
    first = last;
  }
}

}  // namespace loci
