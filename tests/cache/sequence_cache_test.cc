#include "cache/sequence_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

constexpr uint32_t kDim = 32;

class Cache : public testing::Test {
 protected:
  // Two layers: three heads without a window, two heads with one.
  Cache()
      : pool_(uint64_t{256} << 20),
        shapes_{{3, kDim, KvCodec::kKv8, 0}, {2, kDim, KvCodec::kKv16, 100}},
        layout_(shapes_, pool_) {}

  // The entry of a position is known by its first number.
  static void write(SequenceCache& cache, uint32_t tokens, float mark = 0) {
    const uint32_t first = cache.tokens();
    ASSERT_TRUE(cache.reserve(tokens).ok());
    for (uint32_t layer = 0; layer < 2; ++layer) {
      cache.append(LayerId(layer), tokens);
      for (size_t t = 0; t < cache.tables(LayerId(layer)).size(); ++t) {
        for (size_t h = 0; h < cache.tables(LayerId(layer))[t].heads().size(); ++h) {
          for (uint32_t i = 0; i < tokens; ++i) {
            const std::vector<float> entry(kDim, mark + static_cast<float>(first + i));
            cache.write_entry(LayerId(layer), t, h, TokenPos(first + i), entry.data(), entry.data());
          }
        }
      }
    }
    cache.end_pass(tokens);
    cache.release_passed();
  }

  static float value_at(const Table& table, SlotId slot, size_t head) {
    std::vector<float> tile(size_t{table.layout().padded_dim} * kPageSlots);
    kv_decode_kernels(Isa::kScalar).values(table.layout(), table.page_of(slot, head), tile.data());
    return tile[size_t{slot.value % kPageSlots} * table.layout().padded_dim];
  }

  PagePool pool_;
  std::vector<LayerShape> shapes_;
  CacheLayout layout_;
};

TEST_F(Cache, WindowsGivePagesBack) {
  SequenceCache cache(layout_);
  write(cache, 1000);
  const Table& windowed = cache.tables(LayerId(1))[0];
  // The next query stands at 1000 and reads 901 and later: pages below slot 896 are gone.
  EXPECT_FALSE(windowed.stripe_present(13));
  EXPECT_TRUE(windowed.stripe_present(14));
  EXPECT_EQ(windowed.page_bytes(), uint64_t{2} * 2 * windowed.layout().bytes);
  EXPECT_EQ(value_at(windowed, SlotId(901), 1), 901);
  EXPECT_TRUE(cache.tables(LayerId(0))[0].stripe_present(0));
  EXPECT_EQ(cache.kv_bytes(), windowed.page_bytes() + uint64_t{16} * 3 * cache.tables(LayerId(0))[0].layout().bytes);
}

TEST_F(Cache, AWindowInStepsIsKeptForAFinerOne) {
  // The query at 200 reads from 128 on, whatever was read before; one by single positions from 73 on.
  for (const uint32_t pass : {200u, 40u}) {
    SequenceCache cache(layout_);
    cache.narrow(LayerId(0), 0, {.window = 128, .granule = 64});
    while (cache.tokens() < 200) write(cache, pass);
    EXPECT_EQ(cache.entries(), 3 * (200 - 128u) + 2 * 99u);
    cache.narrow(LayerId(0), 0, {.window = 128});
    EXPECT_EQ(cache.pattern(LayerId(0), 0), (Pattern{.window = 128, .floor = 73}));
    EXPECT_FALSE(cache.tables(LayerId(0))[0].stripe_present(0));
    EXPECT_TRUE(cache.tables(LayerId(0))[0].stripe_present(1));
  }
}

TEST_F(Cache, PlannedBytesCoverThePeak) {
  std::mt19937 random(2);
  for (int round = 0; round < 20; ++round) {
    PagePool pool(uint64_t{256} << 20);
    CacheLayout layout(shapes_, pool);
    const uint32_t chunk = 1 + random() % 300, tokens = 1 + random() % 1500;
    {
      SequenceCache cache(layout);
      for (uint32_t fed = 0; fed < tokens;) {
        const uint32_t count = std::min(chunk, tokens - fed);
        write(cache, count);
        fed += count;
      }
    }
    EXPECT_LE(pool.counters().peak_bytes, CacheLayout::sequence_bytes(shapes_, tokens, chunk + kPageSlots - 1))
        << tokens << " by " << chunk;
    EXPECT_EQ(pool.counters().bytes_in_use, 0u);
  }
}

TEST_F(Cache, ForksShareUntilOneWrites) {
  SequenceCache parent(layout_);
  write(parent, 90);
  const uint64_t before = pool_.counters().bytes_in_use;
  SequenceCache child = parent.fork();
  EXPECT_EQ(pool_.counters().bytes_in_use, before);
  write(child, 10, 500);
  write(parent, 10, 700);
  for (uint32_t slot = 0; slot < 90; ++slot) {
    ASSERT_EQ(value_at(child.tables(LayerId(1))[0], SlotId(slot), 0), static_cast<float>(slot));
  }
  EXPECT_EQ(value_at(child.tables(LayerId(1))[0], SlotId(95), 1), 595);
  EXPECT_EQ(value_at(parent.tables(LayerId(1))[0], SlotId(95), 1), 795);
}

TEST_F(Cache, TrimForgetsTheEndUnlessAWindowHasPassed) {
  SequenceCache cache(layout_);
  write(cache, 150);
  EXPECT_TRUE(cache.trim(140));
  EXPECT_EQ(cache.tokens(), 140u);
  write(cache, 5, 900);
  EXPECT_EQ(value_at(cache.tables(LayerId(1))[0], SlotId(141), 0), 1041);
  write(cache, 500);
  EXPECT_FALSE(cache.trim(300));
  EXPECT_EQ(cache.tokens(), 645u);
  EXPECT_TRUE(cache.trim(0));
  EXPECT_EQ(pool_.counters().bytes_in_use, 0u);
}

TEST_F(Cache, AbandonedPassesLeaveNothing) {
  SequenceCache cache(layout_);
  write(cache, 70);
  const uint64_t entries = cache.entries();
  ASSERT_TRUE(cache.reserve(200).ok());
  cache.append(LayerId(0), 200);
  cache.abandon_pass();
  EXPECT_EQ(cache.entries(), entries);
  write(cache, 3, 100);
  EXPECT_EQ(value_at(cache.tables(LayerId(1))[0], SlotId(71), 0), 171);
}

TEST_F(Cache, AnUnequalEditSplitsTheClassAndFreesMemory) {
  SequenceCache cache(layout_);
  write(cache, 640);
  const uint64_t before = cache.kv_bytes();
  std::vector<SlotId> kept;
  for (uint32_t slot = 3; slot < 640; slot += 10) kept.push_back(SlotId(slot));
  ASSERT_TRUE(cache.keep(LayerId(0), std::vector{KvHead(1)}, kept).ok());
  const std::span<const Table> tables = cache.tables(LayerId(0));
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[0].heads().size(), 2u);
  EXPECT_EQ(tables[1].heads()[0], KvHead(1));
  EXPECT_EQ(tables[1].length(), 64u);
  EXPECT_FALSE(tables[1].affine());
  EXPECT_EQ(tables[1].position(SlotId(4)), TokenPos(43));
  EXPECT_EQ(tables[1].slots_before(TokenPos(44)), 5u);
  EXPECT_NEAR(value_at(tables[1], SlotId(4), 0), 43, 0.2);
  EXPECT_NEAR(value_at(tables[0], SlotId(43), 1), 43, 0.2);
  // Ten pages of one head went, one came.
  EXPECT_EQ(before - cache.kv_bytes(), uint64_t{9} * tables[0].layout().bytes);
  EXPECT_FALSE(cache.shareable());
  write(cache, 2, 1000);
  EXPECT_EQ(cache.tables(LayerId(0))[1].position(SlotId(64)), TokenPos(640));
  EXPECT_FALSE(cache.keep(LayerId(0), std::vector{KvHead(9)}, kept).ok());
}

TEST_F(Cache, SharedBlocksExtendAnEmptySequence) {
  SequenceCache first(layout_);
  write(first, 128);
  SequenceCache second(layout_);
  second.append_block(first.block_pages(0));
  second.append_block(first.block_pages(1));
  EXPECT_EQ(second.tokens(), 128u);
  EXPECT_EQ(value_at(second.tables(LayerId(1))[0], SlotId(127), 1), 127);
  write(second, 1, 1000);
  EXPECT_EQ(value_at(second.tables(LayerId(1))[0], SlotId(128), 1), 1128);
  EXPECT_EQ(first.tokens(), 128u);
}

}  // namespace
}  // namespace loci
