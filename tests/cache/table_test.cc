#include "cache/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr uint32_t kHeadDim = 32;
constexpr PageId kAbsent{0xffffffffU};

std::vector<KvHead> heads(uint32_t count) {
  std::vector<KvHead> out;
  for (uint32_t h = 0; h < count; ++h) out.push_back(KvHead(h));
  return out;
}

// An entry is known by one number, which a half holds exactly.
void write(Table& table, SlotId slot, size_t head, uint32_t mark) {
  const std::vector<float> entry(kHeadDim, static_cast<float>(mark));
  encode_entry(table.layout(), table.page_of(slot, head), slot.value % kPageSlots, entry.data(), entry.data());
}

uint32_t mark_at(const Table& table, SlotId slot, size_t head) {
  std::vector<float> tile(size_t{table.layout().padded_dim} * kPageSlots);
  kv_decode_kernels(Isa::kScalar).values(table.layout(), table.page_of(slot, head), tile.data());
  return static_cast<uint32_t>(tile[size_t{slot.value % kPageSlots} * table.layout().padded_dim]);
}

class Tables : public testing::Test {
 protected:
  static constexpr uint32_t kHeads = 3;

  Table table() { return Table(pool_, group_, layout_, heads(kHeads)); }

  // Entries at the next positions, marked by head and position.
  static void append(Table& table, uint32_t count) {
    ASSERT_TRUE(table.reserve(count).ok());
    for (uint32_t i = 0; i < count; ++i) {
      const TokenPos position(table.length());
      const SlotId slot = table.append(position);
      for (size_t h = 0; h < table.heads().size(); ++h) write(table, slot, h, mark_of(table.heads()[h], position));
    }
  }
  static uint32_t mark_of(KvHead head, TokenPos position) { return (head.value * 500 + position.value) % 2048; }

  PageLayout layout_ = page_layout(KvCodec::kKv16, kHeadDim);
  PagePool pool_{uint64_t{64} << 20};
  PageGroup group_ = pool_.group(layout_.bytes, kHeads);
};

TEST_F(Tables, AStripeIsOnePagePerHeadInOneRun) {
  Table t = table();
  append(t, 130);
  ASSERT_EQ(t.stripes(), 3u);
  for (uint32_t s = 0; s < 3; ++s) {
    ASSERT_EQ(t.stripe(s).size(), kHeads);
    for (uint32_t h = 0; h < kHeads; ++h) {
      EXPECT_EQ(t.stripe(s)[h], t.stripe(s)[0] + h);
      EXPECT_EQ(t.page_of(SlotId(s * 64), h), pool_.data(group_, t.stripe(s)[h]));
    }
  }
  EXPECT_EQ(mark_at(t, SlotId(129), 2), mark_of(KvHead(2), TokenPos(129)));
  EXPECT_EQ(t.page_bytes(), uint64_t{3} * kHeads * layout_.bytes);
  EXPECT_TRUE(t.affine());
}

TEST_F(Tables, SplittingMovesPagesAndCopiesNone) {
  Table t = table();
  append(t, 100);
  const std::vector<PageId> first(t.stripe(0).begin(), t.stripe(0).end());
  const uint64_t pages = pool_.counters().pages_in_use;
  {
    const Table alone = t.split(std::vector<size_t>{1});
    EXPECT_EQ(pool_.counters().pages_in_use, pages);
    ASSERT_EQ(alone.heads().size(), 1u);
    EXPECT_EQ(alone.heads()[0], KvHead(1));
    EXPECT_EQ(alone.stripe(0)[0], first[1]);
    EXPECT_EQ(alone.length(), 100u);
    EXPECT_EQ(mark_at(alone, SlotId(99), 0), mark_of(KvHead(1), TokenPos(99)));
  }
  EXPECT_EQ(pool_.counters().pages_in_use, pages - 2);  // its own pages, and no others
  ASSERT_EQ(t.heads().size(), 2u);
  EXPECT_EQ(t.heads()[1], KvHead(2));
  EXPECT_EQ(t.stripe(0)[1], first[2]);
  EXPECT_EQ(mark_at(t, SlotId(70), 1), mark_of(KvHead(2), TokenPos(70)));
  append(t, 60);
  EXPECT_EQ(mark_at(t, SlotId(159), 1), mark_of(KvHead(2), TokenPos(159)));
}

TEST_F(Tables, SharedStripesAreHeldByReference) {
  Table t = table();
  append(t, 192);
  {
    Table other = table();
    other.append_shared({});
    other.append_shared(t.stripe(1));
    EXPECT_EQ(other.length(), 128u);
    EXPECT_FALSE(other.stripe_present(0));
    EXPECT_TRUE(other.stripe_present(1));
    EXPECT_EQ(other.page_bytes(), uint64_t{kHeads} * layout_.bytes);
    EXPECT_EQ(pool_.counters().pages_shared, kHeads);
    t.trim(TokenPos(64));
    EXPECT_EQ(mark_at(other, SlotId(127), 1), mark_of(KvHead(1), TokenPos(127)));
    append(other, 1);
  }
  EXPECT_EQ(pool_.counters().pages_in_use, kHeads);
}

TEST_F(Tables, AForkOfReservedRoomWritesToPagesOfItsOwn) {
  Table parent = table();
  append(parent, 10);
  ASSERT_TRUE(parent.reserve(200).ok());
  Table child = parent.fork();
  ASSERT_TRUE(child.reserve(200).ok());
  for (uint32_t i = 0; i < 200; ++i) write(child, child.append(TokenPos(10 + i)), 0, 2000);
  append(parent, 100);
  for (uint32_t slot = 0; slot < 10; ++slot) {
    EXPECT_EQ(mark_at(child, SlotId(slot), 0), mark_of(KvHead(0), TokenPos(slot)));
  }
  for (uint32_t slot = 10; slot < 110; ++slot) {
    ASSERT_EQ(mark_at(parent, SlotId(slot), 0), mark_of(KvHead(0), TokenPos(slot)));
    ASSERT_EQ(mark_at(child, SlotId(slot), 0), 2000u);
  }
}

TEST_F(Tables, ARefusedReservationMayBeRepeated) {
  PagePool pool(uint64_t{4} * kHeads * layout_.bytes);
  const PageGroup group = pool.group(layout_.bytes, kHeads);
  Table t(pool, group, layout_, heads(kHeads));
  append(t, 100);
  std::vector<Table> alone;
  alone.push_back(t.split(std::vector<size_t>{0}));  // from here on pages are taken one by one
  append(t, 28);
  std::vector<PageId> taken;
  while (pool.counters().pages_in_use < 4 * kHeads - 1) ASSERT_TRUE(pool.allocate(group, 1, taken).ok());
  const uint64_t before = pool.counters().pages_in_use;
  const Status refused = t.reserve(1);  // wants two pages, and there is one
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kLimit);
  EXPECT_EQ(pool.counters().pages_in_use, before);
  EXPECT_EQ(t.length(), 128u);
  alone.clear();
  append(t, 1);
  EXPECT_EQ(mark_at(t, SlotId(128), 1), mark_of(KvHead(2), TokenPos(128)));
  for (const PageId page : taken) pool.release(group, page);
}

// Tables under random edits, each beside a plain list of what it should hold.
class RandomTables : public Tables {
 protected:
  struct Entry {
    uint32_t position;
    std::vector<uint32_t> marks;  // per head
  };
  struct Checked {
    Table table;
    std::vector<Entry> entries;
    uint32_t first = 0;  // entries below it have been given back
  };

  uint32_t draw(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  void grow(Checked& c) {
    const uint32_t count = 1 + draw(100), used = draw(4) == 0 ? draw(count + 1) : count;
    ASSERT_TRUE(c.table.reserve(count).ok());
    for (uint32_t i = 0; i < used; ++i) {
      const uint32_t next = c.entries.empty() ? 0 : c.entries.back().position + 1;
      Entry entry{next + (draw(200) == 0 ? draw(9) : 0), {}};
      const SlotId slot = c.table.append(TokenPos(entry.position));
      ASSERT_EQ(slot.value, c.entries.size());
      for (size_t h = 0; h < c.table.heads().size(); ++h) {
        entry.marks.push_back(draw(2048));
        write(c.table, slot, h, entry.marks.back());
      }
      c.entries.push_back(std::move(entry));
    }
  }

  void trim(Checked& c) {
    if (c.entries.empty()) return;
    const uint32_t length = c.first + draw(static_cast<uint32_t>(c.entries.size()) - c.first + 1);
    const uint32_t position = length == c.entries.size() ? c.entries.back().position + 1 : c.entries[length].position;
    c.table.trim(TokenPos(position));
    c.entries.resize(length);
  }

  void release(Checked& c) {
    const uint32_t below = draw(static_cast<uint32_t>(c.entries.size()) + 1);
    c.table.release_between(SlotId(0), SlotId(below));
    c.first = std::max(c.first, below / kPageSlots * kPageSlots);
  }

  static std::vector<Entry> entries_of_heads(const Checked& c, const std::vector<size_t>& heads) {
    std::vector<Entry> out;
    for (const Entry& entry : c.entries) {
      out.push_back({entry.position, {}});
      for (const size_t h : heads) out.back().marks.push_back(entry.marks[h]);
    }
    return out;
  }

  // Some heads of the table, not all if `but_one`.
  std::vector<size_t> draw_heads(const Checked& c, bool but_one) {
    std::vector<size_t> heads;
    for (size_t h = 0; h < c.table.heads().size(); ++h) {
      if (draw(2) == 0) heads.push_back(h);
    }
    if (heads.empty()) heads.push_back(draw(static_cast<uint32_t>(c.table.heads().size())));
    if (but_one && heads.size() == c.table.heads().size()) heads.pop_back();
    return heads;
  }

  Checked split(Checked& c) {
    const std::vector<size_t> heads = draw_heads(c, true);
    Checked out{c.table.split(heads), entries_of_heads(c, heads), c.first};
    for (Entry& entry : c.entries) {
      for (size_t i = heads.size(); i > 0; --i)
        entry.marks.erase(entry.marks.begin() + static_cast<ptrdiff_t>(heads[i - 1]));
    }
    return out;
  }

  Checked keep(const Checked& c) {
    const std::vector<size_t> heads = draw_heads(c, false);
    std::vector<SlotId> slots;
    std::vector<Entry> entries;
    const std::vector<Entry> of_heads = entries_of_heads(c, heads);
    const uint32_t step = 1 + draw(5);
    for (uint32_t slot = c.first; slot < c.entries.size(); slot += 1 + draw(step)) {
      slots.push_back(SlotId(slot));
      entries.push_back(of_heads[slot]);
    }
    return {std::move(*c.table.kept(heads, slots)), std::move(entries)};
  }

  void expect_entries(const Checked& c) {
    ASSERT_EQ(c.table.length(), c.entries.size());
    for (uint32_t stripe = 0; stripe * kPageSlots < c.entries.size(); ++stripe)
      ASSERT_EQ(c.table.stripe_present(stripe), stripe * kPageSlots >= c.first);
    for (uint32_t slot = 0; slot < c.entries.size(); ++slot) {
      ASSERT_EQ(c.table.position(SlotId(slot)).value, c.entries[slot].position);
      ASSERT_EQ(c.table.slots_before(TokenPos(c.entries[slot].position)), slot);
    }
    for (size_t h = 0; h < c.table.heads().size(); ++h) {
      std::vector<float> tile(size_t{layout_.padded_dim} * kPageSlots);
      for (uint32_t slot = c.first; slot < c.entries.size(); ++slot) {
        if (slot % kPageSlots == 0 || slot == c.first) {
          kv_decode_kernels(best_isa()).values(layout_, c.table.page_of(SlotId(slot), h), tile.data());
        }
        ASSERT_EQ(tile[size_t{slot % kPageSlots} * layout_.padded_dim], static_cast<float>(c.entries[slot].marks[h]))
            << "slot " << slot << ", head " << c.table.heads()[h].value;
      }
    }
  }

  // Every page has as many references as tables hold it, and no page is held by none.
  void expect_references(const std::vector<Checked>& tables) {
    std::map<PageId, uint32_t> references;
    for (const Checked& c : tables) {
      for (uint32_t s = 0; s < c.table.stripes(); ++s) {
        for (const PageId page : c.table.stripe(s)) {
          if (page != kAbsent) ++references[page];
        }
      }
    }
    for (const auto& [page, count] : references) ASSERT_EQ(pool_.references(group_, page), count) << page.value;
    ASSERT_EQ(pool_.counters().pages_in_use, references.size());
  }

  std::mt19937 random_{6};
};

TEST_F(RandomTables, AgreeWithPlainLists) {
  std::vector<Checked> tables;
  for (int step = 0; step < 3000; ++step) {
    if (tables.empty() || (tables.size() < 8 && draw(20) == 0)) tables.push_back({table(), {}});
    const uint32_t at = draw(static_cast<uint32_t>(tables.size()));
    Checked& c = tables[at];
    const uint32_t choice = draw(12);
    if (choice < 5) {
      grow(c);
    } else if (choice == 5) {
      trim(c);
    } else if (choice == 6) {
      release(c);
    } else if (choice == 7 && c.table.heads().size() > 1) {
      tables.push_back(split(c));
    } else if (choice == 8) {
      tables.push_back(keep(c));
    } else if (choice == 9) {
      tables.push_back({c.table.fork(), c.entries, c.first});
    } else if (choice >= 10 && tables.size() > 5) {
      std::swap(tables[at], tables.back());
      tables.pop_back();
    }
    if (HasFatalFailure()) return;
    if (step % 10 == 0) {
      for (const Checked& each : tables) expect_entries(each);
      expect_references(tables);
    }
    if (HasFatalFailure()) FAIL() << "after step " << step;
  }
  tables.clear();
  EXPECT_EQ(pool_.counters().bytes_in_use, 0u);
}

}  // namespace
}  // namespace loci
