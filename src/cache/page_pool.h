// The memory of all cached entries: pages in stripes, reference-counted, under one byte budget.
//
// Pages of one size and layer width form a group. A stripe is `heads` consecutive pages, one for each KV head of a
// class, and is what a table of the whole class takes; tables of fewer heads take single pages, which break stripes up.
// In memory the pages of one head lie side by side over some stripes, since so they are read. Loose pages, left over in
// broken stripes, serve anybody before memory is taken for more. Allocation and release are O(1). Memory comes from the
// system in extents and is zeroed once, so a page never holds an infinity or a NaN. What one group has used and no
// longer needs goes back to the system before another group takes the pool beyond its budget.
// Not thread-safe: the engine's thread allocates between parallel loops; workers read and write the pages' bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/error.h"
#include "base/memory.h"
#include "cache/ids.h"

namespace loci {

struct PageGroup {
  uint32_t index = 0;
};

struct PoolCounters {
  uint64_t pages_in_use = 0;
  uint64_t pages_shared = 0;  // with two or more references
  uint64_t bytes_in_use = 0;  // of pages with a reference
  uint64_t peak_bytes = 0;
  uint64_t budget_bytes = 0;
  uint64_t pages_released = 0;  // since the start
};

class PagePool {
 public:
  explicit PagePool(uint64_t budget_bytes) : budget_(budget_bytes) {}

  // A group of pages of `page_bytes` in stripes of `heads`; an equal group is reused.
  PageGroup group(uint32_t page_bytes, uint32_t heads);

  // Appends `count` pages with one reference each, consecutive ones if they are a stripe and one is free. kLimit, and
  // none, if the budget is used up.
  Status allocate(PageGroup group, uint32_t count, std::vector<PageId>& pages);

  void retain(PageGroup group, PageId page);
  void release(PageGroup group, PageId page);
  uint32_t references(PageGroup group, PageId page) const;

  std::byte* data(PageGroup group, PageId page);
  const std::byte* data(PageGroup group, PageId page) const;
  uint32_t page_bytes(PageGroup group) const { return groups_[group.index].page_bytes; }
  uint32_t heads(PageGroup group) const { return groups_[group.index].heads; }

  PoolCounters counters() const;  // a look at every page
  uint64_t bytes_in_use() const { return in_use_; }
  // Of stripes that were in use since they came from the system: what the pool may have of its memory.
  uint64_t bytes_touched() const { return touched_; }
  uint64_t budget_bytes() const { return budget_; }
  // For tests of what happens then: every `count`-th allocation fails as if the budget were used up. 0: none does.
  void fail_every(uint64_t count) { fail_every_ = count; }

 private:
  struct Group {
    uint32_t page_bytes = 0;
    uint32_t heads = 0;
    uint32_t stripes_per_extent = 0;
    std::vector<Buffer> extents;
    std::vector<uint32_t> references;  // per page
    std::vector<uint32_t> used;        // pages in use, per stripe
    std::vector<uint8_t> touched;      // whether a stripe was in use since it came from the system
    std::vector<uint32_t> free_stripes;
    uint64_t loose = 0;              // free pages in partly used stripes
    std::vector<PageId> free_pages;  // where they may be; checked when taken
    uint64_t stripe_bytes() const { return uint64_t{page_bytes} * heads; }
  };

  // Where the page of a head of a stripe lies in its extent, in bytes.
  static size_t offset(const Group& group, uint32_t stripe, uint32_t head);
  Status check_budget(uint64_t bytes) const;
  Status grow(Group& group);
  PageId take_page(Group& group);
  uint32_t take_stripe(Group& group);
  void discard_free_stripes();
  void discard_free_stripes(Group& group);
  void forget_stale_candidates(Group& group);

  std::vector<Group> groups_;
  uint64_t budget_ = 0;
  uint64_t in_use_ = 0;
  uint64_t touched_ = 0;
  uint64_t peak_ = 0;
  uint64_t released_ = 0;
  uint64_t fail_every_ = 0;
  uint64_t allocations_ = 0;
};

}  // namespace loci
