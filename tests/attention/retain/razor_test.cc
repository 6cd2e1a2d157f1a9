#include <gmock/gmock.h>

#include <limits>
#include <numeric>

#include "attention/one_layer.h"

namespace loci::test::razor {
namespace {

using ::testing::HasSubstr;

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

Profile scores(std::vector<double> induction, std::vector<double> echo) {
  Profile out;
  out.kind = "razor";
  out.layers = 1;
  out.heads = static_cast<uint32_t>(induction.size());
  out.values["induction"] = std::move(induction);
  out.values["echo"] = std::move(echo);
  return out;
}

// KV head 1 of 2 keeps everything.
OneLayer half(const std::string& options, const std::string& rest = "") {
  return OneLayer("retain=razor(ratio=0.5,echo=0," + options + ")" + rest, {}, scores({0.1, 0.9}, {0, 0}));
}

// Attention of the compressed head's query heads 0 and 1 with an entry of its own beside the mask, in double.
std::vector<double> with_mean(const Rows3& x, const ModelShape& model, uint32_t row, uint32_t query_head,
                              uint32_t sinks, uint32_t border) {
  const size_t dim = model.head_dim, kv_width = model.kv_heads * dim;
  std::vector<std::vector<double>> keys, values;
  std::vector<double> weights;
  std::vector<double> mean_key(dim), mean_value(dim);
  const double dropped = border - sinks;
  for (uint32_t j = 0; j <= row; ++j) {
    const float* k = &x.k[j * kv_width];
    const float* v = &x.v[j * kv_width];
    if (j >= sinks && j < border) {
      for (size_t d = 0; d < dim; ++d) mean_key[d] += k[d] / dropped, mean_value[d] += v[d] / dropped;
      continue;
    }
    keys.emplace_back(k, k + dim);
    values.emplace_back(v, v + dim);
    weights.push_back(1);
  }
  keys.push_back(mean_key);
  values.push_back(mean_value);
  weights.push_back(dropped);
  const float* q = &x.q[row * model.q_width() + size_t{query_head} * dim];
  double sum = 0;
  std::vector<double> o(dim);
  for (size_t n = 0; n < keys.size(); ++n) {
    const double p = weights[n] * std::exp(std::inner_product(keys[n].begin(), keys[n].end(), q, 0.0) *
                                           static_cast<double>(model.score_scale));
    sum += p;
    for (size_t d = 0; d < dim; ++d) o[d] += p * values[n][d];
  }
  for (double& one : o) one /= sum;
  return o;
}

// The answer rows' output of head 0's query heads against `with_mean`.
double answer_error(OneLayer& layer, const Rows3& x, uint32_t prompt, uint32_t sinks, uint32_t border,
                    std::span<const float> o) {
  double most = 0;
  const auto rows = static_cast<uint32_t>(x.q.size() / layer.model().q_width());
  for (uint32_t r = prompt; r < rows; ++r) {
    for (uint32_t h = 0; h < 2; ++h) {
      const std::vector<double> expected = with_mean(x, layer.model(), r, h, sinks, border);
      for (uint32_t d = 0; d < layer.model().head_dim; ++d)
        most = std::max(
            most, std::abs(expected[d] - double{o[r * layer.model().q_width() + h * layer.model().head_dim + d]}));
    }
  }
  return most;
}

TEST(Razor, TheMeanOfWhatIsDroppedCountsAsOftenAsThat) {
  constexpr uint32_t kPrompt = 500;
  for (const auto& [options, sinks, border] : {std::tuple{"window=100,sinks=4", 4u, 400u},
                                               {"window=10,compression=2,sinks=70", 70u, 250u},
                                               {"window=64,compression=100,sinks=0", 0u, 436u}}) {
    OneLayer layer = half(options);
    const Rows3 x = layer.random_rows(530, 1);
    const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
    EXPECT_LT(answer_error(layer, x, kPrompt, sinks, border, whole), 4e-3) << options;  // entries are halves
    layer.clear();
    EXPECT_EQ(layer.feed(x, kPrompt, 64), whole) << options;
    layer.clear();
    EXPECT_EQ(layer.feed(x, kPrompt, 7), whole) << options;
  }
}

TEST(Razor, QuantizedKeysAreTurnedBack) {
  constexpr uint32_t kPrompt = 500;
  for (const auto& [store, tolerance] : {std::pair{"kv8", 2e-2}, {"kv4", 0.4}}) {
    OneLayer layer = half("window=100", fmt::format("; store={}", store));
    const Rows3 x = layer.random_rows(520, 2);
    const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
    EXPECT_LT(answer_error(layer, x, kPrompt, 4, 400, whole), tolerance) << store;
    layer.clear();
    EXPECT_EQ(layer.feed(x, kPrompt, 100), whole) << store;
  }
}

// The prompt of head 0 is as the test wants it.
template <typename Change>
Rows3 changed_rows(const OneLayer& layer, uint32_t rows, uint32_t seed, Change change) {
  Rows3 x = layer.random_rows(rows, seed);
  const size_t dim = layer.model().head_dim, kv_width = layer.model().kv_heads * dim;
  for (uint32_t j = 0; j < rows; ++j) change(j, std::span(&x.k[j * kv_width], dim));
  return x;
}

TEST(Razor, EqualKeysLoseNothing) {
  constexpr uint32_t kPrompt = 400;
  OneLayer layer = half("window=80"), bare = half("window=80,compensation=false"), dense("dense");
  const Rows3 x = changed_rows(layer, 420, 3, [](uint32_t j, std::span<float> key) {
    if (j >= 4 && j < 320) std::fill(key.begin(), key.end(), 0.25F);
  });
  const std::vector<float> expected = dense.feed(x, kPrompt, kPrompt);
  EXPECT_LT(largest_difference(layer.feed(x, kPrompt, kPrompt), expected), 1e-4);
  EXPECT_GT(largest_difference(bare.feed(x, kPrompt, kPrompt), expected), 1e-2);
}

TEST(Razor, OneDroppedEntryLosesNothing) {
  OneLayer layer = half("window=195,sinks=4"), dense("dense");
  const Rows3 x = layer.random_rows(220, 4);
  EXPECT_LT(largest_difference(layer.feed(x, 200, 200), dense.feed(x, 200, 200)), 1e-5);
  EXPECT_EQ(layer.cache().pattern(LayerId(0), 0).floor, 5u);
}

TEST(Razor, ShortPromptsAndFullRatiosStayDense) {
  OneLayer brief = half("window=196,sinks=4"), all("razor(ratio=1)"), one = half("window=8,compression=1"),
           dense("dense");
  const Rows3 x = dense.random_rows(220, 5);
  const std::vector<float> expected = dense.feed(x, 200, 200);
  EXPECT_EQ(brief.feed(x, 200, 200), expected);
  EXPECT_EQ(all.feed(x, 200, 200), expected);
  EXPECT_EQ(one.feed(x, 200, 200), expected);
}

TEST(Razor, ALaterPromptMovesTheBorderAndTheMean) {
  OneLayer turns = half("window=100"), once = half("window=100");
  const Rows3 x = turns.random_rows(520, 6);
  turns.begin_prompt(300);
  turns.pass(x, 0, 300);
  for (uint32_t r = 300; r < 320; ++r) turns.pass(x, r, 1);
  turns.begin_prompt(500);
  turns.pass(x, 320, 100);
  turns.pass(x, 420, 80);
  once.begin_prompt(500);
  once.pass(x, 0, 500);
  double most = 0;
  for (uint32_t r = 500; r < 520; ++r)
    most = std::max(most, largest_difference(turns.pass(x, r, 1), once.pass(x, r, 1)));
  EXPECT_LT(most, 1e-5);
}

TEST(Razor, ForksAndTrimsCarryTheMean) {
  OneLayer layer = half("window=100");
  const Rows3 x = layer.random_rows(430, 7);
  const std::vector<float> all = layer.feed(x, 400, 400);
  ASSERT_TRUE(layer.cache().trim(405));
  layer.state().trim(405);
  std::vector<float> again;
  for (uint32_t r = 405; r < 430; ++r) {
    const std::vector<float> o = layer.pass(x, r, 1);
    again.insert(again.end(), o.begin(), o.end());
  }
  EXPECT_TRUE(std::equal(again.begin(), again.end(), all.begin() + 405 * layer.model().q_width()));
  EXPECT_FALSE(layer.cache().trim(399));
  EXPECT_LE(layer.state().bytes(), layer.stages().state_bytes({.rows = 1, .tokens = 430, .threads = 2}));
  EXPECT_GT(layer.state().bytes(), 0u);
}

TEST(Razor, TheEntryNeverWeighsMoreThanWhatItStandsFor) {
  // Jensen: N_d e^{mean s} <= sum e^s. Values of 1 where entries are dropped and 0 elsewhere show the weight.
  constexpr uint32_t kPrompt = 300;
  for (uint32_t seed = 10; seed < 20; ++seed) {
    OneLayer layer = half("window=60"), dense("dense");
    Rows3 x = layer.random_rows(304, seed, /*q_spread=*/3);
    for (uint32_t j = 0; j < 304; ++j) std::fill_n(&x.v[j * 64], 64, j >= 4 && j < kPrompt - 60 ? 1.0F : 0.0F);
    const std::vector<float> o = layer.feed(x, kPrompt, kPrompt), truth = dense.feed(x, kPrompt, kPrompt);
    for (size_t i = kPrompt * layer.model().q_width(); i < o.size(); ++i) EXPECT_LE(o[i], truth[i] + 1e-5F);
  }
}

TEST(Razor, ASmoothHistoryIsBetterWithTheEntry) {
  constexpr uint32_t kPrompt = 400;
  double with = 0, without = 0;
  for (uint32_t seed = 30; seed < 36; ++seed) {
    OneLayer layer = half("window=80"), bare = half("window=80,compensation=false"), dense("dense");
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> base(32), slope(32);
    for (size_t d = 0; d < 32; ++d) base[d] = normal(random), slope[d] = normal(random);
    const Rows3 x = changed_rows(layer, 420, seed, [&](uint32_t j, std::span<float> key) {
      for (size_t d = 0; d < 32; ++d) key[d] = base[d] + slope[d] * static_cast<float>(j) / 400 + 0.1F * normal(random);
    });
    const std::vector<float> truth = dense.feed(x, kPrompt, kPrompt);
    with += largest_difference(layer.feed(x, kPrompt, kPrompt), truth);
    without += largest_difference(bare.feed(x, kPrompt, kPrompt), truth);
  }
  EXPECT_LT(with, 0.7 * without);
}

TEST(Razor, GivesBackWhatItDrops) {
  OneLayer layer = half("window=100,compression=10");
  const Rows3 x = layer.random_rows(1010, 8);
  layer.feed(x, 1000, 128);
  const uint64_t page = layer.cache().tables(LayerId(0))[0].layout().bytes;
  // 16 pages of the full head; of the other one a page of sinks, and 900..1009.
  EXPECT_EQ(layer.cache().kv_bytes(), (16 + 1 + 2) * page);
  EXPECT_EQ(layer.pool().counters().bytes_in_use, layer.cache().kv_bytes());
}

TEST(Razor, SharesRoundUpAndRatiosAreShared) {
  const auto full_heads = [](const std::string& plan) {
    Profile profile = scores({.5, .4, .9, .8, .1, .2, .3, .0}, {0, 0, 0, 0, 0, 0, .1, .9});
    OneLayer layer(plan, {.query_heads = 8, .kv_heads = 8}, std::move(profile));
    std::vector<uint32_t> out;
    for (uint32_t h = 0; h < 8; ++h) {
      const RequestFacts facts{.prompt_tokens = 4000, .total_tokens = 4000, .seed = 0, .task = {}, .spans = {}};
      if (layer.stages().pattern(LayerId(0), KvHead(h), Phase::kDecode, facts).dense()) out.push_back(h);
    }
    return out;
  };
  using Heads = std::vector<uint32_t>;
  EXPECT_EQ(full_heads("razor(window=100,induction=0.14,echo=0.01)"), (Heads{2, 3, 7}));
  EXPECT_EQ(full_heads("razor(window=100,induction=0.01,echo=0)"), Heads{2});
  EXPECT_EQ(full_heads("razor(window=100,induction=0.3,echo=0.2)"), (Heads{0, 2, 3, 6, 7}));
  EXPECT_EQ(full_heads("razor(window=100,ratio=0.5)"), (Heads{0, 1, 2, 3}));
  EXPECT_EQ(full_heads("razor(window=100,ratio=0.5,induction=0.3,echo=0.1)"), (Heads{0, 2, 3, 7}));
}

TEST(Razor, StandsAlone) {
  for (const char* other : {"streaming", "snapkv", "duo", "moa"}) {
    const auto plan = AttentionPlan::parse(fmt::format("retain=razor+{}", other));
    ASSERT_FALSE(plan.ok()) << other;
    EXPECT_THAT(plan.error().message, HasSubstr("a second time"));
  }
}

}  // namespace
}  // namespace loci::test::razor
