#include "cache/table.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "base/checked.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {

Table::Table(PagePool& pool, PageGroup group, const PageLayout& layout, std::vector<KvHead> heads)
    : pool_(&pool), group_(group), layout_(&layout), heads_(std::move(heads)) {}

Table::~Table() { release_all(); }

Table::Table(Table&& other) noexcept
    : pool_(other.pool_),
      group_(other.group_),
      layout_(other.layout_),
      heads_(std::move(other.heads_)),
      pages_(std::exchange(other.pages_, {})),
      positions_(std::move(other.positions_)),
      length_(std::exchange(other.length_, 0)),
      passed_(std::exchange(other.passed_, 0)) {}

Table& Table::operator=(Table&& other) noexcept {
  if (this == &other) return *this;
  release_all();
  pool_ = other.pool_;
  group_ = other.group_;
  layout_ = other.layout_;
  heads_ = std::move(other.heads_);
  pages_ = std::exchange(other.pages_, {});
  positions_ = std::move(other.positions_);
  length_ = std::exchange(other.length_, 0);
  passed_ = std::exchange(other.passed_, 0);
  return *this;
}

void Table::release_all() {
  for (const PageId page : pages_) {
    if (page != kNoPage) pool_->release(group_, page);
  }
  pages_.clear();
}

Table Table::fork() const {
  Table copy(*pool_, group_, *layout_, heads_);
  copy.pages_ = pages_;
  copy.positions_ = positions_;
  copy.length_ = length_;
  copy.passed_ = passed_;
  for (const PageId page : pages_) {
    if (page != kNoPage) pool_->retain(group_, page);
  }
  return copy;
}

uint32_t Table::slots_before(TokenPos position) const {
  if (affine()) return std::min(position.value, length_);
  return static_cast<uint32_t>(std::lower_bound(positions_.begin(), positions_.end(), position) - positions_.begin());
}

TokenPos Table::position(SlotId slot) const { return affine() ? TokenPos(slot.value) : positions_[slot.value]; }

// Entries go to the stripe that the table ends in and to reserved ones after it; a fork shares both.
Status Table::own_open_stripes() {
  const size_t full = std::min(pages_.size(), length_ / kPageSlots * heads_.size());
  for (PageId& page : std::span(pages_).subspan(full)) {
    if (page == kNoPage || pool_->references(group_, page) == 1) continue;
    std::vector<PageId> own;
    LOCI_CHECK(pool_->allocate(group_, 1, own));
    std::memcpy(pool_->data(group_, own[0]), pool_->data(group_, page), layout_->bytes);
    pool_->release(group_, page);
    page = own[0];
  }
  return {};
}

Status Table::reserve(uint32_t count) {
  LOCI_CHECK(own_open_stripes());
  const size_t needed = div_up(size_t{length_} + count, kPageSlots) * heads_.size();
  while (pages_.size() < needed) LOCI_CHECK(pool_->allocate(group_, static_cast<uint32_t>(heads_.size()), pages_));
  return {};
}

SlotId Table::append(TokenPos position) {
  LOCI_ASSERT(length_ / kPageSlots < stripes(), "room is reserved before entries are appended");
  if (affine() && position.value != length_) {
    positions_.resize(length_);
    for (uint32_t i = 0; i < length_; ++i) positions_[i] = TokenPos(i);
  }
  if (!affine() || position.value != length_) positions_.push_back(position);
  return SlotId(length_++);
}

std::byte* Table::page_of(SlotId slot, size_t head_index) {
  return pool_->data(group_, pages_[slot.value / kPageSlots * heads_.size() + head_index]);
}

const std::byte* Table::page_of(SlotId slot, size_t head_index) const {
  return const_cast<Table*>(this)->page_of(slot, head_index);
}

void Table::trim(TokenPos position) {
  const uint32_t length = slots_before(position);
  const size_t kept_pages = div_up(length, kPageSlots) * heads_.size();
  while (pages_.size() > kept_pages) {
    if (pages_.back() != kNoPage) pool_->release(group_, pages_.back());
    pages_.pop_back();
  }
  length_ = length;
  if (!affine()) positions_.resize(length);
  passed_ = std::min(passed_, stripes());
}

void Table::release_between(SlotId first, SlotId last) {
  const uint32_t end = std::min(last.value, length_) / kPageSlots;
  for (uint32_t stripe = std::max(passed_, static_cast<uint32_t>(div_up(first.value, kPageSlots))); stripe < end;
       ++stripe) {
    for (size_t h = 0; h < heads_.size(); ++h) {
      PageId& page = pages_[stripe * heads_.size() + h];
      if (page != kNoPage) pool_->release(group_, page);
      page = kNoPage;
    }
  }
  passed_ = std::max(passed_, end);
}

Result<Table> Table::kept(std::span<const size_t> heads, std::span<const SlotId> slots) const {
  std::vector<KvHead> ids;
  for (const size_t h : heads) ids.push_back(heads_[h]);
  Table out(*pool_, group_, *layout_, std::move(ids));
  LOCI_CHECK(out.reserve(static_cast<uint32_t>(slots.size())));
  for (const SlotId slot : slots) {
    LOCI_ASSERT(slot.value < length_ && stripe_present(slot.value / kPageSlots),
                "only slots that a table holds can be kept");
    const SlotId to = out.append(position(slot));
    for (size_t i = 0; i < heads.size(); ++i) {
      copy_entry(*layout_, page_of(slot, heads[i]), slot.value % kPageSlots, out.page_of(to, i), to.value % kPageSlots);
    }
  }
  return out;
}

Table Table::split(std::span<const size_t> heads) {
  LOCI_ASSERT(heads.size() < heads_.size(), "a class keeps at least one head");
  std::vector<bool> leaves(heads_.size(), false);
  for (const size_t h : heads) leaves[h] = true;
  std::vector<KvHead> gone, rest;
  for (size_t h = 0; h < heads_.size(); ++h) (leaves[h] ? gone : rest).push_back(heads_[h]);
  Table out(*pool_, group_, *layout_, std::move(gone));
  out.positions_ = positions_;
  out.length_ = length_;
  out.passed_ = passed_;
  std::vector<PageId> kept_pages;
  kept_pages.reserve(pages_.size());
  for (size_t i = 0; i < pages_.size(); ++i) (leaves[i % heads_.size()] ? out.pages_ : kept_pages).push_back(pages_[i]);
  pages_ = std::move(kept_pages);
  heads_ = std::move(rest);
  return out;
}

std::span<const PageId> Table::stripe(uint32_t index) const {
  return std::span(pages_).subspan(size_t{index} * heads_.size(), heads_.size());
}

void Table::append_shared(std::span<const PageId> pages) {
  LOCI_ASSERT(affine() && length_ % kPageSlots == 0, "shared stripes extend an unedited table at a page border");
  if (pages.empty()) {
    pages_.insert(pages_.end(), heads_.size(), kNoPage);
  } else {
    for (const PageId page : pages) {
      pool_->retain(group_, page);
      pages_.push_back(page);
    }
  }
  length_ += kPageSlots;
}

uint64_t Table::page_bytes() const {
  const auto present = std::count_if(pages_.begin(), pages_.end(), [](PageId page) { return page != kNoPage; });
  return static_cast<uint64_t>(present) * layout_->bytes;
}

}  // namespace loci
