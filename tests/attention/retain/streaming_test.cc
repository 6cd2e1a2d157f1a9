#include <limits>

#include "attention/one_layer.h"

namespace loci::test::streaming {
namespace {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

TEST(Streaming, ReadsSinksAndTheWindow) {
  for (const auto& [sinks, window] : {std::pair{0u, 1u}, {4u, 20u}, {70u, 64u}, {5u, 130u}}) {
    OneLayer layer(fmt::format("streaming(sinks={},window={})", sinks, window));
    const Rows3 x = layer.random_rows(400, 1);
    const std::vector<float> expected = masked_attention(x, layer.model(), [&](uint32_t r, uint32_t, uint32_t j) {
      return j < sinks || r - j < window ? 0.0F : kUnseen;
    });
    const std::vector<float> whole = layer.feed(x, 380, 380);
    // Entries are halves.
    EXPECT_LT(largest_difference(whole, expected), 4e-3) << sinks << "+" << window;
    layer.clear();
    EXPECT_EQ(layer.feed(x, 380, 64), whole) << sinks << "+" << window;
    layer.clear();
    EXPECT_EQ(layer.feed(x, 380, 7), whole) << sinks << "+" << window;
  }
}

TEST(Streaming, GivesBackWhatNobodyReads) {
  OneLayer layer("streaming(sinks=4,window=100)");
  const Rows3 x = layer.random_rows(1500, 2);
  layer.feed(x, 1400, 128);
  // A page of sinks, and at most three for a window of 100.
  const Table& table = layer.cache().tables(LayerId(0))[0];
  EXPECT_LE(table.page_bytes(), uint64_t{4} * 2 * table.layout().bytes);
  EXPECT_TRUE(table.stripe_present(0));
  EXPECT_FALSE(table.stripe_present(1));
  EXPECT_EQ(layer.cache().mean_entries(), 4u + 99u);  // the next query's own entry comes on top
  EXPECT_EQ(layer.pool().counters().bytes_in_use, layer.cache().kv_bytes());
  EXPECT_FALSE(layer.cache().trim(1000));
  EXPECT_TRUE(layer.cache().trim(1495));
}

TEST(Streaming, AWindowThatHoldsEverythingIsTheDenseRead) {
  OneLayer streaming("streaming(sinks=4,window=4096)"), dense("dense");
  const Rows3 x = dense.random_rows(200, 3);
  EXPECT_EQ(streaming.feed(x, 190, 50), dense.feed(x, 190, 50));
}

}  // namespace
}  // namespace loci::test::streaming
