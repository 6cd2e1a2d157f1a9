#include <algorithm>
#include <limits>
#include <set>

#include "attention/select/chosen.h"

namespace loci::test::anchor {
namespace {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();
constexpr uint32_t kBlock = 64;

double score(const Rows3& x, const ModelShape& model, uint32_t r, uint32_t head, uint32_t j) {
  const size_t width = size_t{model.kv_heads} * model.head_dim;
  const float* q = &x.q[r * size_t{model.q_width()} + size_t{head} * model.head_dim];
  const float* k = &x.k[j * width + size_t{head / model.group()} * model.head_dim];
  double sum = 0;
  for (uint32_t d = 0; d < model.head_dim; ++d) sum += double{q[d]} * k[d];
  return sum * model.score_scale;
}

// The card in plain loops: the stripes of the cell [first, last) for one query head.
std::set<uint32_t> plain_stripes(const Rows3& x, const ModelShape& model, uint32_t head, uint32_t first, uint32_t last,
                                 double theta) {
  std::set<uint32_t> out;
  for (uint32_t begin = first; begin < last; begin += kBlock) {
    const uint32_t end = std::min(last, begin + kBlock);
    double anchor = 0;
    for (uint32_t r = begin; r < end; ++r) {
      double most = -std::numeric_limits<double>::infinity();
      for (uint32_t j = 0; j <= r; ++j) {
        if (j < kBlock || j >= first - kBlock) most = std::max(most, score(x, model, r, head, j));
      }
      anchor += most / (end - begin);
    }
    for (uint32_t j = kBlock; j + kBlock < first; ++j) {
      double mean = 0;
      for (uint32_t r = begin; r < end; ++r) mean += score(x, model, r, head, j) / (end - begin);
      if (mean + theta >= anchor) out.insert(j);
    }
  }
  return out;
}

// Queries of a head have much in common, so that their mean still says something.
Rows3 rounded_rows(const OneLayer& layer, uint32_t rows, uint32_t seed) {
  Rows3 x = layer.random_rows(rows, seed);
  const size_t width = layer.model().q_width();
  const std::vector<float> common(x.q.begin(), x.q.begin() + static_cast<ptrdiff_t>(width));
  for (size_t i = 0; i < x.q.size(); ++i) x.q[i] += common[i % width];
  round_entries(x);
  return x;
}

// Rows of whole cells of 256 read the card's keys; the tail (1024 .. rows) too, if it is sparse.
void expect_card(const std::string& options, double theta, bool group, bool sparse_tail) {
  constexpr uint32_t kRows = 1100, kCell = 256;
  OneLayer layer(fmt::format("select=prefill:anchor(theta={},step=4,block=64{})", theta, options));
  const Rows3 x = rounded_rows(layer, kRows, 3);
  const std::vector<float> read = layer.feed(x, kRows, 512);
  std::vector<std::vector<std::set<uint32_t>>> stripes;  // by cell, by query head
  for (uint32_t first = 0; first < kRows; first += kCell) {
    const uint32_t last = std::min(kRows, first + kCell);
    stripes.emplace_back();
    for (uint32_t h = 0; h < layer.model().query_heads; ++h)
      stripes.back().push_back(plain_stripes(x, layer.model(), h, first, last, theta));
    if (!group) continue;
    for (uint32_t h = 0; h < layer.model().query_heads; h += 2) {
      stripes.back()[h].insert(stripes.back()[h + 1].begin(), stripes.back()[h + 1].end());
      stripes.back()[h + 1] = stripes.back()[h];
    }
  }
  const Chosen got = chosen(layer, x, 768, 256);
  ASSERT_EQ(got.tile, kCell);
  size_t listed = 0;
  for (uint32_t h = 0; h < layer.model().query_heads; ++h) {
    const size_t row = got.row(h / 2, group ? 0 : h % 2, 0);
    EXPECT_EQ(got.lists[group ? h / 2 : h], stripes[3][h]) << options << " head " << h;
    EXPECT_TRUE(got.pages[row].contains(0) && got.pages[row].contains(704) && !got.pages[row].contains(703));
    listed += stripes[3][h].size();
  }
  EXPECT_GT(listed, 0u);
  EXPECT_LT(listed, size_t{layer.model().query_heads} * 500);
  const std::vector<float> expected = masked_attention(x, layer.model(), [&](uint32_t r, uint32_t h, uint32_t j) {
    const uint32_t first = r / kCell * kCell;
    if (first == 0 || (first == 1024 && !sparse_tail) || j < kBlock || j >= first - kBlock) return 0.0F;
    return stripes[r / kCell][h].contains(j) ? 0.0F : kUnseen;
  });
  EXPECT_LT(largest_difference(read, expected), 1e-4) << options;
}

TEST(Anchor, ReadsTheStripesThatTheCardKeeps) {
  expect_card("", 6, false, false);
  expect_card(",tail=sparse", 5, false, true);
  expect_card(",share=group", 6, true, false);
}

// Everything is kept, and every key is read once: weights of equal values sum to one, the rest is dense to rounding.
TEST(Anchor, RegionsAndStripesArePartition) {
  for (const char* store : {"kv16", "kv8", "kv4"}) {
    OneLayer all(fmt::format("store={}; select=prefill:anchor(theta=1000000,step=4,block=64,tail=sparse)", store));
    OneLayer dense(fmt::format("store={}", store));
    const Rows3 x = all.random_rows(1000, 4);
    const std::vector<float> expected = dense.feed(x, 990, 512);
    EXPECT_LT(largest_difference(all.feed(x, 990, 512), expected), 2e-5) << store;
    EXPECT_GT(chosen(all, x, 768, 222).lists.at(0).size(), 500u);
  }
  OneLayer ones("select=prefill:anchor(theta=3,step=4,block=64,tail=sparse)");
  Rows3 x = ones.random_rows(1000, 5);
  std::fill(x.v.begin(), x.v.end(), 1.0F);
  for (const float o : ones.feed(x, 1000, 256)) ASSERT_NEAR(o, 1, 1e-5);
}

TEST(Anchor, PromptsOfACellAreTheDenseRead) {
  OneLayer anchor("select=prefill:anchor(theta=1,step=8,block=64)"), dense("dense");
  const Rows3 x = dense.random_rows(600, 6);
  EXPECT_EQ(anchor.feed(x, 512, 512), dense.feed(x, 512, 512));
  EXPECT_EQ(chosen(anchor, x, 0, 512).tile, 0u);
  // So is a tail.
  anchor.clear();
  dense.clear();
  EXPECT_EQ(anchor.feed(x, 590, 512), dense.feed(x, 590, 512));
}

// Nothing is kept: the beginning, the block before the cell, and the cell.
TEST(Anchor, WithoutStripesItIsAWindow) {
  OneLayer anchor("select=prefill:anchor(theta=-1000000,step=4,block=64)");
  const Rows3 x = rounded_rows(anchor, 1024, 7);
  const std::vector<float> expected = masked_attention(x, anchor.model(), [](uint32_t r, uint32_t, uint32_t j) {
    const uint32_t first = r / 256 * 256;
    return j < kBlock || j + kBlock >= first ? 0.0F : kUnseen;
  });
  EXPECT_LT(largest_difference(anchor.feed(x, 1024, 512), expected), 1e-4);
}

TEST(Anchor, ChunksAndThreadsDoNotShow) {
  for (const char* store : {"kv16", "kv4"}) {
    for (const char* share : {"head", "group"}) {
      const std::string plan =
          fmt::format("store={}; select=prefill:anchor(theta=6,step=4,block=64,share={},tail=sparse)", store, share);
      OneLayerShape one;
      one.threads = 1;
      OneLayer two(plan), single(plan, one);
      const Rows3 x = rounded_rows(two, 1000, 8);
      const std::vector<float> expected = two.feed(x, 960, 256);
      two.clear();
      EXPECT_EQ(two.feed(x, 960, 512), expected);
      two.clear();
      EXPECT_EQ(two.feed(x, 960, 960), expected);
      EXPECT_EQ(single.feed(x, 960, 768), expected);
    }
  }
}

// Twenty columns within 3 of every row's largest score, everything else 20 below: theta finds the columns and little
// else, and fewer as it falls.
TEST(Anchor, FindsPlantedColumns) {
  size_t before = 0;
  for (const double theta : {1.0, 4.0, 12.0, 60.0}) {
    OneLayer layer(fmt::format("select=prefill:anchor(theta={},step=4,block=64)", theta));
    const ModelShape& model = layer.model();
    Rows3 x = layer.random_rows(2048, 9, 0.5F);
    const auto lead = [&](std::vector<float>& at, size_t row, float value) { at[row * model.head_dim] = value; };
    for (size_t r = 0; r < size_t{2048} * model.query_heads; ++r) lead(x.q, r, 10);
    for (size_t r = 0; r < size_t{2048} * model.kv_heads; ++r) lead(x.k, r, 0);
    std::set<uint32_t> planted;
    for (uint32_t i = 0; i < 20; ++i) planted.insert(100 + i * 73);
    for (uint32_t h = 0; h < model.kv_heads; ++h) {
      lead(x.k, h, 14);  // the anchor: a score of about 25
      for (const uint32_t j : planted) lead(x.k, size_t{j} * model.kv_heads + h, 13);
    }
    layer.feed(x, 2048, 512);
    const Chosen got = chosen(layer, x, 1792, 256);
    size_t kept = 0;
    for (const std::set<uint32_t>& list : got.lists) {
      kept += list.size();
      if (theta != 12) continue;
      EXPECT_TRUE(std::includes(list.begin(), list.end(), planted.begin(), planted.end()));
      EXPECT_LE(list.size(), planted.size() + 16);
    }
    EXPECT_GE(kept, before) << theta;
    before = kept;
  }
  EXPECT_GT(before, 5000u);  // theta of 60 keeps everything
}

}  // namespace
}  // namespace loci::test::anchor
