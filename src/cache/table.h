// The pages of one (sequence, layer, class of heads), in slot order.
//
// KV heads of a layer whose entries belong to the same tokens form a class and share a table, whose entries are
// stripes: one page per head. An edit that keeps different tokens in different heads splits the class. Slot i of the
// table is slot i % 64 of the pages of stripe i / 64, and belongs to position i until an edit makes the positions
// sparse. Stripes that no later query reads are given back (a window passed them): their slots keep their numbers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/ids.h"
#include "cache/page_pool.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

class Table {
 public:
  // A table for these heads of one layer; `layout` must outlive it.
  Table(PagePool& pool, PageGroup group, const PageLayout& layout, std::vector<KvHead> heads);
  ~Table();
  Table(Table&& other) noexcept;
  Table& operator=(Table&& other) noexcept;
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  // A table of the same entries; pages are shared until one of the two writes.
  Table fork() const;

  std::span<const KvHead> heads() const { return heads_; }
  const PageLayout& layout() const { return *layout_; }
  uint32_t length() const { return length_; }         // slots, those given back included
  bool affine() const { return positions_.empty(); }  // slot i holds position i

  // Number of slots whose position is below `position`.
  uint32_t slots_before(TokenPos position) const;
  TokenPos position(SlotId slot) const;

  // Makes room for `count` more slots: new stripes, and private copies of shared pages that are not full. On kLimit
  // nothing is lost and the call may be repeated.
  Status reserve(uint32_t count);
  // Appends one entry per head, at `position`, into reserved room. The caller fills the slot of each page_of().
  SlotId append(TokenPos position);
  // The page that holds `slot` for the class's `head_index`-th head.
  std::byte* page_of(SlotId slot, size_t head_index);
  const std::byte* page_of(SlotId slot, size_t head_index) const;

  // Forgets all slots at `position` and later.
  void trim(TokenPos position);
  // Gives back the whole pages within slots [first, last). Calls come with ascending `last`.
  void release_between(SlotId first, SlotId last);
  // Keeps only these slots (ascending) of these heads of the class (ascending indices), copied into pages of a table of
  // its own.
  Result<Table> kept(std::span<const size_t> heads, std::span<const SlotId> slots) const;
  // Takes these heads of the class (ascending indices) out: a table of them alone, which takes over their pages. At
  // least one head must be left.
  Table split(std::span<const size_t> heads);

  // Pages of one stripe, one per head; for sharing them through a prefix index.
  std::span<const PageId> stripe(uint32_t index) const;
  bool stripe_present(uint32_t index) const { return pages_[size_t{index} * heads_.size()] != kNoPage; }
  uint32_t stripes() const { return static_cast<uint32_t>(pages_.size() / heads_.size()); }
  // Appends a full stripe of shared pages (taking a reference each) to an affine table that ends on a page border. An
  // absent one (given back) is an empty span.
  void append_shared(std::span<const PageId> pages);

  uint64_t page_bytes() const;  // of the pages it refers to
  PageGroup group() const { return group_; }

 private:
  static constexpr PageId kNoPage{0xffffffffu};

  void release_all();
  Status own_open_stripes();

  PagePool* pool_;
  PageGroup group_;
  const PageLayout* layout_;
  std::vector<KvHead> heads_;
  std::vector<PageId> pages_;  // [stripe][head]
  std::vector<TokenPos> positions_;
  uint32_t length_ = 0;
  uint32_t passed_ = 0;  // stripes that release_between has looked at
};

}  // namespace loci
