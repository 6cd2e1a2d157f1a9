#include "cache/page_pool.h"

#include <algorithm>

#include "base/assert.h"

namespace loci {
namespace {

// Many huge pages, of which the system gives those that are touched.
constexpr uint64_t kExtentBytes = uint64_t{32} << 20;

// So many stripes form a block, in which the pages of one head lie side by side: who reads a head's pages in their
// order then reads memory in runs.
constexpr uint32_t kBlockStripes = 8;

}  // namespace

PageGroup PagePool::group(uint32_t page_bytes, uint32_t heads) {
  for (uint32_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].page_bytes == page_bytes && groups_[i].heads == heads) return {i};
  }
  Group added;
  added.page_bytes = page_bytes;
  added.heads = heads;
  const uint64_t blocks = kExtentBytes / (added.stripe_bytes() * kBlockStripes);
  added.stripes_per_extent = static_cast<uint32_t>(std::max<uint64_t>(1, blocks)) * kBlockStripes;
  groups_.push_back(std::move(added));
  return {static_cast<uint32_t>(groups_.size() - 1)};
}

Status PagePool::grow(Group& group) {
  LOCI_TRY(Buffer extent, Buffer::allocate(group.stripe_bytes() * group.stripes_per_extent));
  const uint32_t first = static_cast<uint32_t>(group.used.size());
  group.extents.push_back(std::move(extent));
  group.used.resize(first + group.stripes_per_extent, 0);
  group.touched.resize(group.used.size(), 0);
  group.references.resize(group.used.size() * group.heads, 0);
  for (uint32_t i = group.stripes_per_extent; i > 0; --i) group.free_stripes.push_back(first + i - 1);
  return {};
}

Status PagePool::check_budget(uint64_t bytes) const {
  if (in_use_ + bytes <= budget_) return {};
  return fail(
      ErrorCode::kLimit,
      "the cache is full: {:.1f} of {:.1f} MiB are in use; shorten the context, use a smaller store (store=kv8, "
      "store=kv4) or raise the memory limit",
      static_cast<double>(in_use_) / 0x1p20, static_cast<double>(budget_) / 0x1p20);
}

// A free stripe; one is there. The one that was given up last, so that fresh ones are taken only if there is no other.
uint32_t PagePool::take_stripe(Group& group) {
  const uint32_t stripe = group.free_stripes.back();
  group.free_stripes.pop_back();
  if (group.touched[stripe] == 0) {
    if (touched_ + group.stripe_bytes() > budget_) discard_free_stripes();
    group.touched[stripe] = 1;
    touched_ += group.stripe_bytes();
  }
  return stripe;
}

void PagePool::discard_free_stripes() {
  for (Group& group : groups_) discard_free_stripes(group);
}

// Neighbours go together: less work for the system.
void PagePool::discard_free_stripes(Group& group) {
  const auto stripes = static_cast<uint32_t>(group.used.size());
  const auto goes = [&](uint32_t stripe) { return group.used[stripe] == 0 && group.touched[stripe] != 0; };
  for (uint32_t first = 0; first < stripes; ++first) {
    if (!goes(first)) continue;
    const uint32_t end = std::min(stripes, (first / kBlockStripes + 1) * kBlockStripes);
    uint32_t last = first;
    for (; last < end && goes(last); ++last) group.touched[last] = 0;
    Buffer& extent = group.extents[first / group.stripes_per_extent];
    const size_t run = size_t{last - first} * group.page_bytes;
    for (uint32_t head = 0; head < group.heads; ++head) extent.discard(offset(group, first, head), run);
    touched_ -= run * group.heads;
    first = last - 1;
  }
}

// A loose page, or the first of a free stripe; one of the two is there.
PageId PagePool::take_page(Group& group) {
  while (!group.free_pages.empty()) {
    const PageId page = group.free_pages.back();
    group.free_pages.pop_back();
    const uint32_t stripe = page.value / group.heads;
    // A candidate may have been taken meanwhile, alone or with its whole stripe.
    if (group.references[page.value] != 0 || group.used[stripe] == 0) continue;
    ++group.used[stripe];
    --group.loose;
    group.references[page.value] = 1;
    return page;
  }
  const uint32_t stripe = take_stripe(group);
  group.used[stripe] = 1;
  group.loose += group.heads - 1;
  const PageId first(stripe * group.heads);
  for (uint32_t i = group.heads; i > 1; --i) group.free_pages.push_back(first + (i - 1));
  group.references[first.value] = 1;
  return first;
}

Status PagePool::allocate(PageGroup id, uint32_t count, std::vector<PageId>& pages) {
  Group& group = groups_[id.index];
  const uint64_t bytes = uint64_t{count} * group.page_bytes;
  LOCI_CHECK(check_budget(bytes));
  if (fail_every_ > 0 && ++allocations_ % fail_every_ == 0)
    return fail(ErrorCode::kLimit, "allocation {} of pages fails, as was asked for", allocations_);
  while (group.loose + group.free_stripes.size() * uint64_t{group.heads} < count) LOCI_CHECK(grow(group));
  if (count == group.heads && !group.free_stripes.empty()) {
    const uint32_t stripe = take_stripe(group);
    group.used[stripe] = group.heads;
    const uint32_t first = stripe * group.heads;
    std::fill_n(group.references.begin() + first, group.heads, 1u);
    for (uint32_t i = 0; i < count; ++i) pages.push_back(PageId(first + i));
  } else {
    for (uint32_t i = 0; i < count; ++i) pages.push_back(take_page(group));
  }
  in_use_ += bytes;
  peak_ = std::max(peak_, in_use_);
  return {};
}

void PagePool::forget_stale_candidates(Group& group) {
  std::vector<PageId>& pages = group.free_pages;
  std::sort(pages.begin(), pages.end());
  pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
  std::erase_if(pages, [&](PageId page) {
    return group.references[page.value] != 0 || group.used[page.value / group.heads] == 0;
  });
}

void PagePool::retain(PageGroup id, PageId page) {
  uint32_t& references = groups_[id.index].references[page.value];
  LOCI_ASSERT(references > 0, "only a page in use can be shared");
  ++references;
}

void PagePool::release(PageGroup id, PageId page) {
  Group& group = groups_[id.index];
  uint32_t& references = group.references[page.value];
  LOCI_ASSERT(references > 0, "a page is released once for each reference");
  if (--references > 0) return;
  ++released_;
  in_use_ -= group.page_bytes;
  const uint32_t stripe = page.value / group.heads;
  if (--group.used[stripe] > 0) {
    ++group.loose;
    group.free_pages.push_back(page);
    if (group.free_pages.size() > 2 * group.references.size()) forget_stale_candidates(group);
    return;
  }
  group.loose -= group.heads - 1;
  group.free_stripes.push_back(stripe);
}

uint32_t PagePool::references(PageGroup id, PageId page) const { return groups_[id.index].references[page.value]; }

size_t PagePool::offset(const Group& group, uint32_t stripe, uint32_t head) {
  const uint32_t block = stripe % group.stripes_per_extent / kBlockStripes;
  const size_t page = size_t{block * group.heads + head} * kBlockStripes + stripe % kBlockStripes;
  return page * group.page_bytes;
}

std::byte* PagePool::data(PageGroup id, PageId page) {
  Group& group = groups_[id.index];
  const uint32_t stripe = page.value / group.heads;
  return group.extents[stripe / group.stripes_per_extent].data() + offset(group, stripe, page.value % group.heads);
}

const std::byte* PagePool::data(PageGroup id, PageId page) const { return const_cast<PagePool*>(this)->data(id, page); }

PoolCounters PagePool::counters() const {
  PoolCounters out;
  for (const Group& group : groups_) {
    for (const uint32_t references : group.references) {
      out.pages_in_use += references > 0;
      out.pages_shared += references > 1;
    }
  }
  out.bytes_in_use = in_use_;
  out.peak_bytes = peak_;
  out.budget_bytes = budget_;
  out.pages_released = released_;
  return out;
}

}  // namespace loci
