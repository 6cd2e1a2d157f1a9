#include <algorithm>
#include <limits>
#include <set>

#include "attention/one_layer.h"

namespace loci::test::snapkv {
namespace {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

// What the card says, in plain loops: votes of the last rows, pooled per query head, averaged over the group.
std::set<uint32_t> plain_choice(const Rows3& x, const ModelShape& model, uint32_t prompt, uint32_t kv_head,
                                uint32_t budget, uint32_t window, uint32_t kernel, bool mean) {
  const size_t q_width = model.q_width(), kv_width = size_t{model.kv_heads} * model.head_dim;
  const uint32_t voted = prompt - window;
  std::vector<double> score(voted, 0.0);
  for (uint32_t g = 0; g < model.group(); ++g) {
    std::vector<double> vote(voted, 0.0);
    for (uint32_t r = voted; r < prompt; ++r) {
      const float* q = &x.q[r * q_width + size_t{kv_head * model.group() + g} * model.head_dim];
      std::vector<double> p(r + 1);
      double sum = 0;
      for (uint32_t j = 0; j <= r; ++j) {
        double s = 0;
        for (uint32_t d = 0; d < model.head_dim; ++d)
          s += double{q[d]} * x.k[j * kv_width + size_t{kv_head} * model.head_dim + d];
        sum += p[j] = std::exp(s * model.score_scale);
      }
      for (uint32_t j = 0; j < voted; ++j) vote[j] += p[j] / sum;
    }
    for (uint32_t j = 0; j < voted; ++j) {
      double pooled = 0;
      for (int64_t n = int64_t{j} - kernel / 2; n <= int64_t{j} + kernel / 2; ++n) {
        if (n < 0 || n >= voted) continue;
        const double v = vote[static_cast<size_t>(n)];
        pooled = mean ? pooled + v / kernel : std::max(pooled, v);
      }
      score[j] += pooled / model.group();
    }
  }
  std::vector<uint32_t> order(voted);
  for (uint32_t j = 0; j < voted; ++j) order[j] = j;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return score[a] > score[b]; });
  std::set<uint32_t> kept(order.begin(), order.begin() + (budget - window));
  for (uint32_t j = voted; j < prompt; ++j) kept.insert(j);
  return kept;
}

TEST(SnapKv, KeepsWhatTheLastRowsVoteFor) {
  constexpr uint32_t kPrompt = 300, kBudget = 60, kWindow = 16;
  for (const bool mean : {true, false}) {
    OneLayer layer(fmt::format("snapkv(budget=60,window=16,kernel=5,pool={})", mean ? "mean" : "max"));
    const Rows3 x = layer.random_rows(320, 4);
    std::vector<std::set<uint32_t>> kept;
    for (uint32_t h = 0; h < 2; ++h)
      kept.push_back(plain_choice(x, layer.model(), kPrompt, h, kBudget, kWindow, 5, mean));
    const std::vector<float> expected = masked_attention(x, layer.model(), [&](uint32_t r, uint32_t h, uint32_t j) {
      return r < kPrompt || j >= kPrompt || kept[h / 2].contains(j) ? 0.0F : kUnseen;
    });
    const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
    EXPECT_LT(largest_difference(whole, expected), 6e-3);
    for (const Table& table : layer.cache().tables(LayerId(0))) {
      EXPECT_EQ(table.length(), kBudget + 20);
      for (uint32_t slot = 0; slot < kBudget; ++slot)
        EXPECT_TRUE(kept[table.heads()[0].value].contains(table.position(SlotId(slot)).value)) << slot;
    }
    EXPECT_EQ(layer.pool().counters().bytes_in_use, layer.cache().kv_bytes());
  }
}

TEST(SnapKv, ShortPromptsAndWideBudgetsStayDense) {
  OneLayer snap("snapkv(budget=100,window=8)"), wide("snapkv(budget=4096)"), dense("dense");
  const Rows3 x = dense.random_rows(120, 5);
  const std::vector<float> expected = dense.feed(x, 100, 100);
  EXPECT_EQ(snap.feed(x, 100, 100), expected);
  EXPECT_EQ(wide.feed(x, 100, 100), expected);
}

TEST(SnapKv, AWindowOfTheBudgetLessOneKeepsRecentEntries) {
  OneLayer layer("snapkv(budget=17,window=16)");
  const Rows3 x = layer.random_rows(210, 6);
  layer.feed(x, 200, 200);
  for (const Table& table : layer.cache().tables(LayerId(0))) {
    for (uint32_t slot = 1; slot < 17; ++slot) EXPECT_EQ(table.position(SlotId(slot)), TokenPos(183 + slot));
  }
}

}  // namespace
}  // namespace loci::test::snapkv
