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
    if (choice == 0) {
      const Result<PageId> first = pool.allocate_stripe(group);
      ASSERT_TRUE(first.ok());
      for (uint32_t h = 0; h < 3; ++h) {
        ASSERT_EQ(references.count((*first + h).value), 0u);
        references[(*first + h).value] = 1;
        mark(*first + h);
      }
    } else if (choice <= 2) {
      const Result<PageId> page = pool.allocate_page(group);
      ASSERT_TRUE(page.ok());
      ASSERT_EQ(references.count(page->value), 0u);
      references[page->value] = 1;
      mark(*page);
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
  std::vector<PageId> stripes;
  for (int i = 0; i < 10; ++i) stripes.push_back(*pool.allocate_stripe(group));
  const Result<PageId> more = pool.allocate_stripe(group);
  ASSERT_FALSE(more.ok());
  EXPECT_EQ(more.error().code, ErrorCode::kLimit);
  EXPECT_FALSE(pool.allocate_page(group).ok());
  pool.release(group, stripes[4]);  // one head's page: its stripe stays, a single page fits
  EXPECT_FALSE(pool.allocate_stripe(group).ok());
  EXPECT_TRUE(pool.allocate_page(group).ok());
}

TEST(PagePool, EqualShapesShareAGroup) {
  PagePool pool(1 << 20);
  EXPECT_EQ(pool.group(4096, 2).index, pool.group(4096, 2).index);
  EXPECT_NE(pool.group(4096, 2).index, pool.group(4096, 3).index);
}

}  // namespace
}  // namespace loci
