#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "attention/select/chosen.h"

namespace loci::test::flexprefill {
namespace {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();
constexpr uint32_t kBlock = 64;

struct Card {
  double gamma;
  double tau;
  uint32_t least;  // blocks
};

// The card in plain loops, for one query head and the cell [first, last).
class Plain {
 public:
  Plain(const Rows3& x, const ModelShape& model, uint32_t head, uint32_t first, uint32_t last)
      : x_(x), model_(model), head_(head), first_(first), last_(last), blocks_((last + kBlock - 1) / kBlock) {}

  // By query block of the cell, the blocks of keys that it reads.
  std::vector<std::set<uint32_t>> choose(const Card& card) {
    observe();
    aware = divergence() < card.tau;
    const uint32_t least = std::min(card.least, blocks_);
    if (aware) {
      std::vector<std::set<uint32_t>> out = lines(least, least);
      add_pairs(card.gamma, out);
      return out;
    }
    return lines(std::clamp(cover(columns_, card.gamma) / kBlock + 1, least, blocks_),
                 std::clamp(cover(distances_, card.gamma) / kBlock + 1, least, blocks_));
  }

  bool aware = false;
  double mass_of_columns() const { return std::accumulate(columns_.begin(), columns_.end(), 0.0); }
  double mass_of_distances() const { return std::accumulate(distances_.begin(), distances_.end(), 0.0); }

 private:
  double score(const std::vector<double>& q, uint32_t j) const {
    double sum = 0;
    const size_t width = size_t{model_.kv_heads} * model_.head_dim;
    for (uint32_t d = 0; d < model_.head_dim; ++d)
      sum += q[d] * double{x_.k[j * width + size_t{head_ / model_.group()} * model_.head_dim + d]};
    return sum * model_.score_scale;
  }
  std::vector<double> mean_query(uint32_t first, uint32_t last) const {
    std::vector<double> out(model_.head_dim);
    for (uint32_t r = first; r < last; ++r) {
      for (uint32_t d = 0; d < model_.head_dim; ++d)
        out[d] += double{x_.q[r * size_t{model_.q_width()} + size_t{head_} * model_.head_dim + d]} / (last - first);
    }
    return out;
  }
  // Of mean scores of blocks of keys.
  std::vector<double> pooled(const std::vector<double>& q, uint32_t count) const {
    std::vector<double> out(count);
    double sum = 0;
    for (uint32_t b = 0; b < count; ++b) {
      const uint32_t end = std::min(last_, (b + 1) * kBlock);
      for (uint32_t j = b * kBlock; j < end; ++j) out[b] += score(q, j) / (end - b * kBlock);
      sum += out[b] = std::exp(out[b]);
    }
    for (double& p : out) p /= sum;
    return out;
  }

  void observe() {
    const uint32_t judges = std::min(kBlock, last_ - first_);
    columns_.assign(last_, 0);
    distances_.assign(last_, 0);
    for (uint32_t r = last_ - judges; r < last_; ++r) {
      std::vector<double> p(r + 1);
      double sum = 0;
      const std::vector<double> q = mean_query(r, r + 1);
      for (uint32_t j = 0; j <= r; ++j) sum += p[j] = std::exp(score(q, j));
      for (uint32_t j = 0; j <= r; ++j) {
        columns_[j] += p[j] / sum / judges;
        distances_[r - j] += p[j] / sum / judges;
      }
    }
    column_blocks_.assign(blocks_, 0);
    distance_blocks_.assign(blocks_, 0);
    for (uint32_t j = 0; j < last_; ++j) {
      column_blocks_[j / kBlock] += columns_[j];
      // Pooled from the far end.
      distance_blocks_[blocks_ - 1 - (last_ - 1 - j) / kBlock] += distances_[j];
    }
  }
  double divergence() const {
    const std::vector<double> estimate = pooled(mean_query(last_ - std::min(kBlock, last_ - first_), last_), blocks_);
    double sum = 0;
    for (uint32_t b = 0; b < blocks_; ++b) {
      const double m = (estimate[b] + column_blocks_[b]) / 2;
      sum += 0.5 * estimate[b] * std::log(estimate[b] / m) + 0.5 * column_blocks_[b] * std::log(column_blocks_[b] / m);
    }
    return std::sqrt(sum);
  }
  static uint32_t cover(std::vector<double> mass, double gamma) {
    std::sort(mass.begin(), mass.end(), std::greater<>());
    double sum = 0;
    uint32_t count = 0;
    while (count < mass.size() && sum < gamma) sum += mass[count++];
    return count;
  }
  static std::set<uint32_t> heaviest(std::vector<double> mass, uint32_t count) {
    mass[0] = std::numeric_limits<double>::infinity();
    std::vector<uint32_t> order(mass.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return mass[a] > mass[b]; });
    return {order.begin(), order.begin() + count};
  }
  std::vector<std::set<uint32_t>> lines(uint32_t columns, uint32_t distances) const {
    std::vector<std::set<uint32_t>> out;
    for (uint32_t i = first_ / kBlock; i < blocks_; ++i) {
      out.emplace_back();
      for (const uint32_t j : heaviest(column_blocks_, columns)) {
        if (j <= i) out.back().insert(j);
      }
      for (const uint32_t s : heaviest(distance_blocks_, distances)) {
        if (s <= i) out.back().insert(i - s);
      }
    }
    return out;
  }
  void add_pairs(double gamma, std::vector<std::set<uint32_t>>& out) const {
    struct Pair {
      double mass;
      uint32_t row, block;
    };
    std::vector<Pair> pairs;
    for (uint32_t i = 0; i < out.size(); ++i) {
      const uint32_t begin = first_ + i * kBlock, end = std::min(last_, begin + kBlock);
      const std::vector<double> row = pooled(mean_query(begin, end), begin / kBlock + 1);
      for (uint32_t b = 0; b < row.size(); ++b) pairs.push_back({row[b], i, b});
    }
    std::stable_sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.mass > b.mass; });
    double sum = 0;
    for (size_t i = 0; i < pairs.size() && sum < gamma * static_cast<double>(out.size()); ++i) {
      sum += pairs[i].mass;
      out[pairs[i].row].insert(pairs[i].block);
    }
  }

  const Rows3& x_;
  const ModelShape& model_;
  uint32_t head_, first_, last_, blocks_;
  std::vector<double> columns_, distances_, column_blocks_, distance_blocks_;
};

// Rows whose keys come in blocks of like ones, some columns louder than others.
Rows3 structured_rows(const OneLayer& layer, uint32_t rows, uint32_t seed) {
  Rows3 x = layer.random_rows(rows, seed);
  const size_t width = size_t{layer.model().kv_heads} * layer.model().head_dim;
  for (uint32_t j = 0; j < rows; ++j) {
    const float loud = j % 97 == 5 ? 3.0F : 1.0F;
    for (size_t d = 0; d < width; ++d) x.k[j * width + d] = loud * x.k[j * width + d] + x.v[j / 128 * 128 * width + d];
  }
  round_entries(x);
  return x;
}

void expect_card(double gamma, double tau, uint32_t rows, uint32_t& aware) {
  OneLayer layer(
      fmt::format("select=prefill:flexprefill(gamma={},tau={},min_budget=128,block=64,cell=512)", gamma, tau));
  const Rows3 x = structured_rows(layer, rows, 3);
  const uint32_t first = (rows - 1) / 512 * 512;
  const std::vector<float> read = layer.feed(x, rows, 512);
  const Chosen got = chosen(layer, x, first, rows - first);
  ASSERT_EQ(got.tile, kBlock);
  std::vector<std::vector<std::set<uint32_t>>> wanted;
  for (uint32_t h = 0; h < layer.model().query_heads; ++h) {
    Plain plain(x, layer.model(), h, first, rows);
    wanted.push_back(plain.choose({.gamma = gamma, .tau = tau, .least = 2}));
    aware += plain.aware ? 1 : 0;
    EXPECT_NEAR(plain.mass_of_columns(), 1, 1e-9);
    EXPECT_NEAR(plain.mass_of_distances(), 1, 1e-9);
    for (uint32_t i = 0; i < got.tiles; ++i) {
      std::set<uint32_t> slots;
      for (const uint32_t b : wanted.back()[i]) {
        for (uint32_t s = 0; s < kBlock; ++s) slots.insert(b * kBlock + s);
      }
      EXPECT_EQ(got.pages[got.row(h / 2, h % 2, i)], slots) << "gamma " << gamma << " head " << h << " tile " << i;
    }
  }
  // And that is what the last cell's rows read.
  const std::vector<float> expected = masked_attention(x, layer.model(), [&](uint32_t r, uint32_t h, uint32_t j) {
    return r >= first && wanted[h][(r - first) / kBlock].contains(j / kBlock) ? 0.0F : kUnseen;
  });
  const size_t from = size_t{first} * layer.model().q_width();
  EXPECT_LT(largest_difference(std::span(read).subspan(from), std::span(expected).subspan(from)), 1e-4);
}

TEST(FlexPrefill, ReadsTheBlocksThatTheCardChooses) {
  uint32_t aware = 0;
  for (const double gamma : {0.3, 0.6, 0.9}) expect_card(gamma, 0, 1536, aware);
  EXPECT_EQ(aware, 0u);
  for (const double gamma : {0.3, 0.6, 0.9}) expect_card(gamma, 1, 1536, aware);
  EXPECT_EQ(aware, 12u);
}

TEST(FlexPrefill, APartialLastBlockIsPooledOverItsOwnRows) {
  uint32_t aware = 0;
  expect_card(0.5, 0, 1536 - 37, aware);
  expect_card(0.5, 1, 1536 - 37, aware);
  EXPECT_EQ(aware, 4u);
}

TEST(FlexPrefill, DegenerateSettingsAreTheDenseRead) {
  OneLayer above("select=prefill:flexprefill(gamma=1.01,min_budget=64,block=64,cell=512)");
  OneLayer budget("select=prefill:flexprefill(gamma=0.1,min_budget=4096,block=64,cell=512)");
  OneLayer shorter("select=prefill:flexprefill(gamma=0.1,min_budget=512,block=64,cell=512)");
  OneLayer dense("dense");
  const Rows3 x = dense.random_rows(1000, 5);
  const std::vector<float> expected = dense.feed(x, 1000, 512);
  for (OneLayer* layer : {&above, &budget, &shorter}) {
    EXPECT_EQ(layer->feed(x, 1000, 512), expected);
    EXPECT_EQ(chosen(*layer, x, 512, 488).tile, 0u);
  }
}

// Through the lists: at gamma = 1 every block is chosen, and the last one is not full.
TEST(FlexPrefill, AllBlocksAreTheDenseRead) {
  for (const char* store : {"kv16", "kv8", "kv4"}) {
    OneLayer all(fmt::format("store={}; select=prefill:flexprefill(gamma=1,min_budget=64,block=64,cell=512)", store));
    OneLayer dense(fmt::format("store={}", store));
    const Rows3 x = dense.random_rows(1000, 6, 0.1F);
    EXPECT_EQ(all.feed(x, 990, 512), dense.feed(x, 990, 512)) << store;
    EXPECT_GT(chosen(all, x, 512, 478).tile, 0u);
  }
}

TEST(FlexPrefill, ChunksAndThreadsDoNotShow) {
  for (const char* store : {"kv16", "kv4"}) {
    const std::string plan =
        fmt::format("store={}; select=prefill:flexprefill(gamma=0.5,min_budget=64,block=64,cell=256)", store);
    OneLayerShape one;
    one.threads = 1;
    OneLayer two(plan), single(plan, one);
    const Rows3 x = structured_rows(two, 1000, 7);
    const std::vector<float> expected = two.feed(x, 960, 256);
    OneLayer dense(fmt::format("store={}", store));
    EXPECT_GT(largest_difference(expected, dense.feed(x, 960, 256)), 0.05);
    two.clear();
    EXPECT_EQ(two.feed(x, 960, 512), expected);
    two.clear();
    EXPECT_EQ(two.feed(x, 960, 960), expected);
    EXPECT_EQ(single.feed(x, 960, 768), expected);
  }
}

TEST(FlexPrefill, DensityGrowsWithGamma) {
  size_t before = 0;
  for (const double gamma : {0.1, 0.3, 0.5, 0.7, 0.9, 0.99}) {
    OneLayer layer(fmt::format("select=prefill:flexprefill(gamma={},tau=0.4,min_budget=64,block=64,cell=512)", gamma));
    const Rows3 x = structured_rows(layer, 1536, 8);
    layer.feed(x, 1536, 512);
    size_t density = 0;
    for (const std::set<uint32_t>& slots : chosen(layer, x, 1024, 512).pages) density += slots.size();
    EXPECT_GE(density, before) << gamma;
    before = density;
  }
}

// Sinks and one loud column far back: their blocks are found and no more, and what they say arrives.
TEST(FlexPrefill, FindsSinksWindowsAndColumns) {
  OneLayer layer("select=prefill:flexprefill(gamma=0.9,tau=0,min_budget=128,block=64,cell=512)");
  const ModelShape& model = layer.model();
  Rows3 x = layer.random_rows(2048, 9, 0.1F);
  const auto point = [&](std::vector<float>& at, size_t row, float length) { at[row * model.head_dim] = length; };
  for (size_t r = 0; r < size_t{2048} * model.query_heads; ++r) point(x.q, r, 8);
  for (const uint32_t j : {0u, 700u}) {
    for (uint32_t h = 0; h < model.kv_heads; ++h) point(x.k, size_t{j} * model.kv_heads + h, 14);
  }
  round_entries(x);
  const std::vector<float> read = layer.feed(x, 2048, 512);
  const Chosen got = chosen(layer, x, 1536, 512);
  for (uint32_t i = 0; i < got.tiles; ++i) {
    const std::set<uint32_t>& slots = got.pages[got.row(0, 0, i)];
    EXPECT_TRUE(slots.contains(0) && slots.contains(700) && slots.contains(1536 + i * kBlock)) << i;
    EXPECT_LE(slots.size(), 4 * kBlock) << i;
  }
  OneLayer dense("dense");
  const std::vector<float> expected = dense.feed(x, 2048, 512);
  const size_t from = size_t{1536} * model.q_width();
  EXPECT_LT(largest_difference(std::span(read).subspan(from), std::span(expected).subspan(from)), 0.01);
}

}  // namespace
}  // namespace loci::test::flexprefill
