// Ranges of items as integers, without any attention (LeanAttention, arXiv:2405.10480, section 4).
#include "attention/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace loci {
namespace {

std::vector<Tile> tiles_of(const std::vector<uint32_t>& items) {
  std::vector<Tile> out;
  uint64_t before = 0;
  for (const uint32_t count : items) {
    Tile tile;
    tile.items = count;
    tile.items_before = before;
    before += count;
    out.push_back(tile);
  }
  return out;
}

uint64_t total(const std::vector<Tile>& tiles) {
  return tiles.empty() ? 0 : tiles.back().items_before + tiles.back().items;
}

// The time, in items, until all are done, if each worker takes the next range when it is free.
uint64_t makespan(const std::vector<ItemRange>& ranges, size_t workers) {
  std::vector<uint64_t> busy(workers);
  for (const ItemRange& range : ranges) *std::min_element(busy.begin(), busy.end()) += range.last - range.first;
  return *std::max_element(busy.begin(), busy.end());
}

void expect_partition(const std::vector<Tile>& tiles, const std::vector<ItemRange>& ranges) {
  uint64_t at = 0;
  std::vector<bool> inside(tiles.size());
  for (const ItemRange& range : ranges) {
    ASSERT_EQ(range.first, at);
    ASSERT_LT(range.first, range.last);
    const Tile& tile = tiles[range.first_tile];
    ASSERT_LE(tile.items_before, range.first);
    ASSERT_LT(range.first, tile.items_before + tile.items);
    if (range.first > tile.items_before) inside[range.first_tile] = true;
    at = range.last;
  }
  ASSERT_EQ(at, total(tiles));
  for (size_t t = 0; t < tiles.size(); ++t) ASSERT_EQ(tiles[t].split, inside[t]) << "tile " << t;
}

TEST(Schedules, RangesArePartitionsOfAllItems) {
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::vector<uint32_t> items(1 + random() % 80);
    for (uint32_t& count : items) count = 1 + random() % (random() % 4 == 0 ? 500 : 5);
    const uint64_t workers = 1 + random() % 9;
    for (const bool split : {false, true}) {
      std::vector<Tile> tiles = tiles_of(items);
      std::vector<ItemRange> ranges;
      if (split) {
        cut_split(tiles, workers, ranges);
        EXPECT_LE(ranges.size(), workers);
      } else {
        cut_stream(tiles, workers, random() % 2 == 0, ranges);
        EXPECT_LE(ranges.size(), workers * kManyStreamRounds);
      }
      expect_partition(tiles, ranges);
      if (HasFatalFailure()) return;
    }
  }
}

// Lengths 1, 7, 1000 and 8192, three heads each, in items of 64.
TEST(Schedules, AStreamIsShorterThanAFixedSplitOfARaggedBatch) {
  std::vector<uint32_t> items;
  for (const uint32_t length : {1, 7, 1000, 8192}) items.insert(items.end(), 3, (length + 63) / 64);
  for (const uint64_t workers : {2, 3, 5}) {
    std::vector<Tile> tiles = tiles_of(items);
    std::vector<ItemRange> stream, split;
    cut_stream(tiles, workers, true, stream);
    const uint64_t best = (total(tiles) + workers - 1) / workers;
    EXPECT_LE(makespan(stream, workers), best + 4) << workers;
    tiles = tiles_of(items);
    cut_split(tiles, workers, split);
    EXPECT_GT(makespan(split, workers), best + best / 4) << workers;
  }
}

TEST(Schedules, TilesOfLikeLengthStayWhole) {
  std::vector<Tile> tiles = tiles_of(std::vector<uint32_t>(64, 9));
  std::vector<ItemRange> ranges;
  cut_stream(tiles, 2, false, ranges);
  EXPECT_TRUE(std::none_of(tiles.begin(), tiles.end(), [](const Tile& tile) { return tile.split; }));
  EXPECT_EQ(makespan(ranges, 2), 32 * 9);
}

}  // namespace
}  // namespace loci
