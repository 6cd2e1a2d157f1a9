#include "cache/page_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

namespace loci {
namespace {

// Random allocations, shares and releases against a plain map; every page carries its own pattern.
TEST(PagePool, AgreesWithABruteForceModel) {
  PagePool pool(uint64_t{64} << 20);
  const PageGroup group = pool.group(4096, 3);
  std::map<uint32_t, uint32_t> references;
  std::mt19937 random(1);
  const auto mark = [&](PageId page) {
    std::memset(pool.data(group, page), static_cast<int>(page.value % 251 + 1), 4096);
  };
  for (int step = 0; step < 20000; ++step) {
    const uint32_t choice = random() % 8;
    if (choice <= 2) {
      const uint32_t count = choice == 0 ? 3 : choice;
      std::vector<PageId> pages;
      ASSERT_TRUE(pool.allocate(group, count, pages).ok());
      ASSERT_EQ(pages.size(), count);
      for (const PageId page : pages) {
        ASSERT_EQ(references.count(page.value), 0u);
        references[page.value] = 1;
        mark(page);
      }
    } else if (!references.empty()) {
      auto it = references.lower_bound(random() % (references.rbegin()->first + 1));
      if (choice == 3) {
        pool.retain(group, PageId(it->first));
        ++it->second;
      } else {
        pool.release(group, PageId(it->first));
        if (--it->second == 0) references.erase(it);
      }
    }
  }
  uint64_t shared = 0;
  for (const auto& [page, count] : references) {
    EXPECT_EQ(pool.references(group, PageId(page)), count);
    EXPECT_EQ(std::to_integer<uint32_t>(pool.data(group, PageId(page))[4095]), page % 251 + 1);
    shared += count > 1;
  }
  EXPECT_EQ(pool.counters().pages_in_use, references.size());
  EXPECT_EQ(pool.counters().bytes_in_use, references.size() * 4096);
  EXPECT_EQ(pool.counters().pages_shared, shared);
  while (!references.empty()) {
    const auto it = references.begin();
    pool.release(group, PageId(it->first));
    if (--it->second == 0) references.erase(it);
  }
  EXPECT_EQ(pool.counters().bytes_in_use, 0u);
}

TEST(PagePool, RefusesBeyondItsBudget) {
  PagePool pool(10 * 3 * 4096);
  const PageGroup group = pool.group(4096, 3);
  std::vector<PageId> pages;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(pool.allocate(group, 3, pages).ok());
  const Status more = pool.allocate(group, 3, pages);
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.error().code, ErrorCode::kLimit);
  EXPECT_EQ(pages.size(), 30u);
  EXPECT_FALSE(pool.allocate(group, 1, pages).ok());
  pool.release(group, pages[4]);
  EXPECT_FALSE(pool.allocate(group, 3, pages).ok());
  EXPECT_TRUE(pool.allocate(group, 1, pages).ok());
}

// Two groups whose pages are in use one after the other do not hold the budget's memory twice.
TEST(PagePool, MemoryGoesFromGroupToGroup) {
  constexpr uint32_t kHeads = 4, kSmall = 9000, kLarge = 16384;  // pages that are whole ones of the system, and not
  const uint64_t budget = 64 * kHeads * kLarge;
  PagePool pool(budget);
  const PageGroup groups[] = {pool.group(kSmall, kHeads), pool.group(kLarge, kHeads)};
  std::vector<PageId> kept;  // of the first group, in the middle of what goes
  for (int round = 0; round < 6; ++round) {
    const PageGroup group = groups[round % 2];
    const uint32_t bytes = pool.page_bytes(group);
    std::vector<PageId> pages;
    while (pool.bytes_in_use() + kHeads * bytes <= budget) {
      const size_t first = pages.size();
      ASSERT_TRUE(pool.allocate(group, kHeads, pages).ok());
      for (size_t i = first; i < pages.size(); ++i) {
        for (uint32_t at = 0; at < bytes; at += 512) {
          const auto old = static_cast<int>(pool.data(group, pages[i])[at]);
          EXPECT_TRUE(old == 0 || old == 7) << old;
        }
        std::memset(pool.data(group, pages[i]), 7, bytes);
      }
    }
    EXPECT_LE(pool.bytes_touched(), budget);
    EXPECT_GE(pool.bytes_touched(), pool.bytes_in_use());
    for (size_t i = 0; i < pages.size(); ++i) {
      if (round == 0 && i / kHeads == 20) {
        kept.push_back(pages[i]);
      } else {
        pool.release(group, pages[i]);
      }
    }
    for (const PageId page : kept) {
      for (uint32_t at = 0; at < kSmall; ++at) ASSERT_EQ(static_cast<int>(pool.data(groups[0], page)[at]), 7);
    }
  }
}

TEST(PagePool, StripesAreConsecutiveAndLoosePagesServeThemToo) {
  PagePool pool(uint64_t{64} << 20);
  const PageGroup group = pool.group(1 << 20, 4);  // eight stripes an extent
  std::vector<PageId> pages;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(pool.allocate(group, 4, pages).ok());
    for (uint32_t h = 1; h < 4; ++h) EXPECT_EQ(pages[pages.size() - 4 + h], pages[pages.size() - 4] + h);
  }
  // A page of each of four stripes makes a fifth, without memory for more.
  for (size_t i = 0; i < 16; i += 4) pool.release(group, pages[i]);
  std::vector<PageId> loose;
  ASSERT_TRUE(pool.allocate(group, 4, loose).ok());
  for (const PageId page : loose) EXPECT_LT(page.value, 16u);
  ASSERT_TRUE(pool.allocate(group, 4, loose).ok());
  EXPECT_EQ(loose[4].value, 32u);
}

// Who reads a head's pages one after the other reads memory in runs.
TEST(PagePool, PagesOfOneHeadLieSideBySide) {
  PagePool pool(uint64_t{64} << 20);
  const PageGroup group = pool.group(4096, 3);
  std::vector<PageId> pages;
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(pool.allocate(group, 3, pages).ok());
  size_t neighbours = 0;
  for (size_t i = 3; i < pages.size(); ++i)
    neighbours += pool.data(group, pages[i]) == pool.data(group, pages[i - 3]) + 4096;
  EXPECT_EQ(neighbours, 8 * 7 * 3) << "blocks, borders within each, heads";
}

TEST(PagePool, EqualShapesShareAGroup) {
  PagePool pool(1 << 20);
  EXPECT_EQ(pool.group(4096, 2).index, pool.group(4096, 2).index);
  EXPECT_NE(pool.group(4096, 2).index, pool.group(4096, 3).index);
}

}  // namespace
}  // namespace loci
