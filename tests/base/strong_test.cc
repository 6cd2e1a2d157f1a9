#include "base/strong.h"

#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace loci {
namespace {

using Slot = Strong<struct SlotTag>;
using Position = Strong<struct PositionTag>;

static_assert(!std::is_convertible_v<Slot, Position>);
static_assert(!std::is_constructible_v<Slot, Position>);
static_assert(!std::is_convertible_v<uint32_t, Slot>);
static_assert(!std::is_convertible_v<Slot, uint32_t>);
static_assert(sizeof(Slot) == sizeof(uint32_t));
static_assert(std::is_same_v<decltype(Slot(1) - Slot(0)), uint32_t>, "a difference is a distance");
static_assert(std::is_same_v<decltype(Slot(1) + 2u), Slot>);

TEST(Strong, OrdersAndCounts) {
  Slot slot(3);
  EXPECT_LT(slot, Slot(4));
  EXPECT_EQ(++slot, Slot(4));
  EXPECT_EQ(slot + 6u, Slot(10));
  EXPECT_EQ(Slot(10) - 6u, slot);
  EXPECT_EQ(Slot(10) - slot, 6u);
  EXPECT_EQ(Slot().value, 0u);
}

TEST(Strong, HashesLikeItsValue) {
  std::unordered_set<Slot> set{Slot(1), Slot(2), Slot(1)};
  EXPECT_EQ(set.size(), 2u);
  EXPECT_EQ(set.count(Slot(2)), 1u);
}

}  // namespace
}  // namespace loci
