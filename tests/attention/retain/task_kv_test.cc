#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "attention/one_layer.h"

namespace loci::test::task_kv {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Lt;

using Choice = std::vector<std::set<uint32_t>>;  // by KV head: what is kept

struct Card {
  uint32_t prompt, full, middle;
  uint32_t sinks = 4, recent = 20, window = 16, kernel = 5, top = 24;
};

// Column means of the last rows of a query head.
std::vector<double> column_means(const Rows3& x, const ModelShape& model, const Card& card, uint32_t query_head) {
  const size_t q_width = model.q_width(), kv_width = size_t{model.kv_heads} * model.head_dim;
  std::vector<double> out(card.prompt);
  for (uint32_t r = card.prompt - card.window; r < card.prompt; ++r) {
    const float* q = &x.q[r * q_width + size_t{query_head} * model.head_dim];
    std::vector<double> p(r + 1);
    double sum = 0;
    for (uint32_t j = 0; j <= r; ++j) {
      const float* k = &x.k[j * kv_width + size_t{query_head / model.group()} * model.head_dim];
      sum += p[j] = std::exp(std::inner_product(q, q + model.head_dim, k, 0.0) * double{model.score_scale});
    }
    for (uint32_t j = 0; j <= r; ++j) out[j] += p[j] / sum / card.window;
  }
  return out;
}

std::vector<uint32_t> largest(const std::vector<double>& of, uint32_t count) {
  std::vector<uint32_t> order(of.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return of[a] > of[b]; });
  order.resize(std::min<size_t>(count, order.size()));
  return order;
}

// The card's steps in plain loops.
Choice plain_choice(const Rows3& x, const ModelShape& model, const Card& card) {
  const uint32_t group = model.group(), dim = model.head_dim;
  const size_t kv_width = size_t{model.kv_heads} * dim;
  std::vector<std::vector<double>> meaning(model.kv_heads, std::vector<double>(dim));
  std::vector<std::vector<double>> score(model.kv_heads, std::vector<double>(card.prompt));
  for (uint32_t h = 0; h < model.query_heads; ++h) {
    const std::vector<double> c = column_means(x, model, card, h);
    for (const uint32_t j : largest(c, card.top)) {
      for (uint32_t d = 0; d < dim; ++d)
        meaning[h / group][d] += c[j] * x.v[j * kv_width + size_t{h / group} * dim + d] / group;
    }
    for (uint32_t j = 0; j < card.prompt; ++j) {
      for (int64_t n = int64_t{j} - card.kernel / 2; n <= int64_t{j} + card.kernel / 2; ++n) {
        if (n >= 0 && n < card.prompt) score[h / group][j] += c[static_cast<size_t>(n)] / card.kernel / group;
      }
    }
  }
  std::vector<double> center(dim), distance(model.kv_heads);
  for (const auto& one : meaning) {
    for (uint32_t d = 0; d < dim; ++d) center[d] += one[d] / model.kv_heads;
  }
  for (uint32_t h = 0; h < model.kv_heads; ++h) {
    for (uint32_t d = 0; d < dim; ++d) distance[h] += std::pow(meaning[h][d] - center[d], 2);
  }
  const std::vector<uint32_t> far = largest(distance, model.kv_heads);
  std::set<uint32_t> full(far.begin(), far.begin() + (card.full > 1 ? card.full - 1 : card.full));
  if (card.full > 1) full.insert(far.back());
  Choice out(model.kv_heads);
  for (uint32_t h = 0; h < model.kv_heads; ++h) {
    std::vector<double> between(card.prompt, -1.0);
    std::copy(score[h].begin() + card.sinks, score[h].end() - card.recent, between.begin() + card.sinks);
    const std::vector<uint32_t> best = largest(between, card.middle);
    out[h].insert(best.begin(), best.end());
    for (uint32_t j = 0; j < card.prompt; ++j) {
      if (full.contains(h) || j < card.sinks || j + card.recent >= card.prompt) out[h].insert(j);
    }
  }
  return out;
}

Choice kept(const OneLayer& layer, uint32_t prompt) {
  Choice out(layer.model().kv_heads);
  for (const Table& table : layer.cache().tables(LayerId(0))) {
    for (const KvHead head : table.heads()) {
      for (uint32_t slot = 0; slot < table.length(); ++slot) {
        if (table.position(SlotId(slot)).value < prompt) out[head.value].insert(table.position(SlotId(slot)).value);
      }
    }
  }
  return out;
}

const OneLayerShape kShape = {.query_heads = 8, .kv_heads = 4};
const char* const kSizes = "sinks=4,recent=20,window=16,kernel=5,top=24";

TEST(TaskKv, HeadsApartKeepEverythingAndTheOthersTheirShare) {
  for (const auto& [beta, budget, full, middle] :
       {std::tuple{0.3, 0.4, 1u, 36u}, {0.5, 0.7, 2u, 96u}, {0.75, 0.9, 3u, 156u}, {0.1, 0.3, 0u, 66u}}) {
    const Card card{.prompt = 300, .full = full, .middle = middle};
    OneLayer layer(fmt::format("task-kv(budget={},beta={},{})", budget, beta, kSizes), kShape);
    const Rows3 x = layer.random_rows(320, 1);
    const std::vector<float> whole = layer.feed(x, 300, 300);
    const Choice expected = plain_choice(x, layer.model(), card);
    EXPECT_EQ(kept(layer, 300), expected) << beta;
    const std::vector<float> masked = masked_attention(x, layer.model(), [&](uint32_t r, uint32_t h, uint32_t j) {
      return r < 300 || j >= 300 || expected[h / 2].contains(j) ? 0.0F : -std::numeric_limits<float>::infinity();
    });
    EXPECT_LT(largest_difference(whole, masked), 6e-3) << beta;
    const uint64_t page = layer.cache().tables(LayerId(0))[0].layout().bytes;
    EXPECT_EQ(layer.pool().counters().pages_in_use * page, layer.cache().kv_bytes());
    // The layer's budget is used up to rounding.
    size_t entries = 0;
    for (const auto& one : expected) entries += one.size();
    EXPECT_LE(entries, budget * 4 * 300 + 1e-6);
    EXPECT_GT(static_cast<double>(entries), budget * 4 * 300 - 4);
    for (const uint32_t chunk : {64u, 17u}) {
      layer.clear();
      layer.begin_prompt(300);
      // The last chunk holds the rows that are looked back at.
      std::vector<float> again;
      for (uint32_t first = 0; first < 320;) {
        const uint32_t rows = first >= 300 ? 1 : 300 - first < chunk + 16 ? 300 - first : chunk;
        const std::vector<float> o = layer.pass(x, first, rows);
        again.insert(again.end(), o.begin(), o.end());
        first += rows;
      }
      EXPECT_EQ(again, whole) << chunk;
    }
  }
}

TEST(TaskKv, QuantizedEntriesKeepNearlyTheSame) {
  const Card card{.prompt = 300, .full = 1, .middle = 36};
  for (const auto& [store, alike] : {std::pair{"kv8", 0.99}, {"kv4", 0.85}}) {
    OneLayer layer(fmt::format("retain=task-kv({}); store={}", kSizes, store), kShape);
    const Rows3 x = layer.random_rows(310, 1);
    layer.feed(x, 300, 300);
    const Choice expected = plain_choice(x, layer.model(), card), found = kept(layer, 300);
    size_t all = 0, both = 0;
    for (size_t h = 0; h < 4; ++h) {
      all += expected[h].size();
      for (const uint32_t j : expected[h]) both += found[h].count(j);
    }
    EXPECT_GE(static_cast<double>(both), alike * static_cast<double>(all)) << store;
  }
}

TEST(TaskKv, TheSetFollowsTheTask) {
  // Rows look for entries that carry a head's mark; two heads look elsewhere than the others and find other values.
  const OneLayerShape kEight = {.query_heads = 8, .kv_heads = 8};
  for (const auto& task : {std::set<uint32_t>{1, 6}, {0, 3}, {4, 5}}) {
    OneLayer layer("task-kv(budget=0.6,beta=0.375,sinks=4,recent=20,window=16,top=32)", kEight);
    Rows3 x = layer.random_rows(300, 2, /*q_spread=*/0);
    const auto plant = [&](uint32_t head, uint32_t first, uint32_t dim, float value) {
      for (uint32_t j = first; j < first + 10; ++j) {
        float* k = &x.k[(j * 8 + head) * 32];
        std::fill_n(k, 32, 0.0F);
        k[dim] = 10;
        float* v = &x.v[(j * 8 + head) * 32];
        std::fill_n(v, 32, 0.0F);
        v[dim] = value;
      }
      for (uint32_t r = 250; r < 300; ++r) x.q[(r * 8 + head) * 32 + dim] = 6;
    };
    uint32_t place = 100;
    for (uint32_t h = 0; h < 8; ++h) {
      if (task.contains(h)) {
        plant(h, place += 20, 10 + h, 3);
      } else {
        plant(h, 60, 0, 2);
      }
    }
    layer.feed(x, 300, 300);
    const Choice found = kept(layer, 300);
    std::set<uint32_t> full;
    for (uint32_t h = 0; h < 8; ++h) {
      if (found[h].size() == 300) full.insert(h);
    }
    ASSERT_EQ(full.size(), 3u);  // two apart, and the nearest to the mean
    EXPECT_TRUE(std::includes(full.begin(), full.end(), task.begin(), task.end()));
  }
}

TEST(TaskKv, HeadsThatAgreeFallBackToTheirOrder) {
  OneLayer layer(fmt::format("task-kv(budget=0.7,beta=0.5,{})", kSizes), kShape);
  Rows3 x = layer.random_rows(300, 3);
  for (size_t i = 0; i < x.k.size(); ++i) x.k[i] = x.v[i] = 1;
  layer.feed(x, 300, 300);
  const Choice found = kept(layer, 300);
  EXPECT_EQ(found[0].size(), 300u);
  EXPECT_EQ(found[1].size(), 300u);
  EXPECT_THAT(found[2].size(), Lt(300u));
}

TEST(TaskKv, WholeBudgetsAndShortPromptsStayDense) {
  OneLayer whole("task-kv(budget=1)", kShape), all("task-kv(beta=1,beta_last=1)", kShape),
      brief("task-kv(sinks=100,recent=200)", kShape), dense("dense", kShape);
  const Rows3 x = dense.random_rows(310, 4);
  const std::vector<float> expected = dense.feed(x, 300, 100);
  EXPECT_EQ(whole.feed(x, 300, 100), expected);
  EXPECT_EQ(all.feed(x, 300, 100), expected);
  EXPECT_EQ(brief.feed(x, 300, 100), expected);
}

// What a head may keep, by layer, of 4 KV heads of 8.
std::vector<uint64_t> bounds(const std::string& plan, KvHead head, uint32_t prompt, std::vector<uint32_t> windows) {
  const ModelShape model{.layers = static_cast<uint32_t>(windows.size()),
                         .query_heads = 8,
                         .kv_heads = 4,
                         .head_dim = 32,
                         .score_scale = 1,
                         .windows = windows,
                         .fingerprint = {}};
  const MethodContext context{.model = model, .context = 1 << 17, .profile = {}};
  const MethodCall call = AttentionPlan::parse(plan)->retain(LayerId(0), head).front();
  const std::unique_ptr<Retain> retain = *call.method->make_retain(call, context);
  std::vector<uint64_t> out;
  for (uint32_t l = 0; l < model.layers; ++l) out.push_back(retain->kept(LayerId(l), head, prompt));
  return out;
}

TEST(TaskKv, FewerHeadsKeepEverythingInLaterLayers) {
  const std::vector<uint32_t> six(6, 0);
  // The corrections of the card: F = 1, 1, 1, 1, 0, 0. A third of 0.4 * 4 - 1, or 0.4.
  EXPECT_THAT(bounds("task-kv", KvHead(0), 10000, six), ElementsAre(10000, 10000, 10000, 10000, 4000, 4000));
  EXPECT_THAT(bounds("task-kv", KvHead(3), 10000, six), ElementsAre(2000, 2000, 2000, 2000, 4000, 4000));
  // Layers with a window of their own do not count.
  EXPECT_THAT(bounds("task-kv", KvHead(0), 10000, {512, 0, 512, 512, 0, 512}), ElementsAre(_, 10000, _, _, 4000, _));
  // A budget that cannot pay for a whole head, and one that cannot pay for the ends.
  EXPECT_THAT(bounds("task-kv(budget=0.2)", KvHead(0), 10000, {0}), ElementsAre(2000));
  EXPECT_THAT(bounds("task-kv(budget=0.01)", KvHead(0), 10000, {0}), ElementsAre(272));
  EXPECT_THAT(bounds("task-kv", KvHead(3), 200, {0}), ElementsAre(200));
}

TEST(TaskKv, DecidesForWholeLayersAlone) {
  EXPECT_THAT(AttentionPlan::parse("task-kv@0-3:h1").error().message, HasSubstr("whole layers"));
  EXPECT_THAT(AttentionPlan::parse("retain=task-kv+snapkv").error().message, HasSubstr("shares one budget"));
  EXPECT_THAT(AttentionPlan::parse("task-kv(beta=0.1,beta_last=0.2)").error().message, HasSubstr("at most the beta"));
}

}  // namespace
}  // namespace loci::test::task_kv
