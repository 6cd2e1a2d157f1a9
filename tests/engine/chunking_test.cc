// How prompts are cut into passes.
#include "engine/chunking.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace loci {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Le;

// The passes of a prompt that has them for itself.
std::vector<uint32_t> passes(const Chunking& chunking, uint32_t prompt, uint32_t position = 0) {
  std::vector<uint32_t> out;
  while (prompt > 0) {
    const uint32_t rows = chunking.rows(position, prompt, 0);
    EXPECT_GT(rows, 0U);
    EXPECT_LE(rows, chunking.most_rows());
    if (rows == 0 || rows > prompt) break;
    out.push_back(rows);
    position += rows;
    prompt -= rows;
  }
  return out;
}

constexpr Chunking kCells{.chunk = 2048, .cell = 1024, .lookback = 32, .idle_until = 1500, .idle_chunk = 256};

TEST(Chunking, PassesHoldWholeCells) {
  EXPECT_THAT(passes(kCells, 5000), ElementsAre(2048, 2048, 904));
  // The rest would be shorter than what is looked back at.
  EXPECT_THAT(passes(kCells, 2048 + 10), ElementsAre(1024, 1034));
}

TEST(Chunking, PromptsInWhichNothingIsDecidedAreCutAsDenseOnes) {
  EXPECT_THAT(passes(kCells, 1500), ElementsAre(256, 256, 256, 256, 256, 220));
  EXPECT_THAT(passes(kCells, 1501), ElementsAre(1501));
  EXPECT_THAT(passes(kCells, 256 * 3 + 7).back(), testing::Ge(32U)) << "rows are looked back at there, too";
}

// A conversation goes on behind what was read as a short prompt: from there on cells are whole.
TEST(Chunking, WhatFollowsAShortPromptEndsOnTheGridAgain) {
  EXPECT_THAT(passes(kCells, 3000, 700), ElementsAre(1348, 1652));
  EXPECT_THAT(passes(kCells, 300, 700), ElementsAre(196, 104)) << "passes end on page borders";
  EXPECT_THAT(passes(kCells, 1600, 0), Each(Le(2048U)));
}

}  // namespace
}  // namespace loci
