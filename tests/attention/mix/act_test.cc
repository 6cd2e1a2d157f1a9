#include <algorithm>
#include <limits>
#include <map>

#include "attention/one_layer.h"

namespace loci::test::act {
namespace {

// Rows in which every query of KV head 0's group likes the keys at `places` by about `strength`.
Rows3 rows_with_sinks(const OneLayer& layer, uint32_t rows, const std::vector<uint32_t>& places, float strength) {
  Rows3 x = layer.random_rows(rows, 11, 1);
  const ModelShape& model = layer.model();
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t h = 0; h < model.group(); ++h) x.q[r * model.q_width() + h * model.head_dim] = 4;
    const bool sink = std::find(places.begin(), places.end(), r) != places.end();
    x.k[r * model.kv_heads * model.head_dim] = sink ? strength / (4 * model.score_scale) : 0.0F;
  }
  return x;
}

using Matrix = std::vector<std::vector<double>>;  // [row][entry]

Matrix attention_map(const Rows3& x, const ModelShape& model, uint32_t head) {
  const size_t q_width = model.q_width(), kv_width = size_t{model.kv_heads} * model.head_dim;
  const auto rows = static_cast<uint32_t>(x.q.size() / q_width);
  Matrix a(rows, std::vector<double>(rows));
  for (uint32_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (uint32_t j = 0; j <= r; ++j) {
      double score = 0;
      for (uint32_t d = 0; d < model.head_dim; ++d)
        score += double{x.q[r * q_width + head * model.head_dim + d]} *
                 x.k[j * kv_width + head / model.group() * model.head_dim + d];
      sum += a[r][j] = std::exp(score * model.score_scale);
    }
    for (uint32_t j = 0; j <= r; ++j) a[r][j] /= sum;
  }
  return a;
}

// Steps 1 and 2 of the paper on the rows [first, last), with the sinks found there or `sinks`.
std::vector<uint32_t> find(const Matrix& a, uint32_t first, uint32_t last, double tau) {
  std::vector<uint32_t> sinks;
  for (uint32_t k = 1; k + 32 <= last; ++k) {
    double sum = 0;
    for (uint32_t r = std::max(first, k); r < last; ++r) sum += a[r][k];
    if (sum / (last - std::max(first, k)) > tau) sinks.push_back(k);
  }
  return sinks;
}

void recalibrate(Matrix& a, uint32_t first, uint32_t last, const std::vector<uint32_t>& sinks, double beta) {
  for (uint32_t r = first; r < last; ++r) {
    double of_sinks = 0, others = 0;
    for (uint32_t k = 0; k <= r; ++k)
      (std::find(sinks.begin(), sinks.end(), k) != sinks.end() ? of_sinks : others) += a[r][k];
    for (uint32_t k = 0; k <= r; ++k) {
      const bool sink = std::find(sinks.begin(), sinks.end(), k) != sinks.end();
      a[r][k] = sink ? beta * a[r][k] : a[r][k] + (1 - beta) * of_sinks * a[r][k] / others;
    }
  }
}

double worst(const std::vector<float>& o, const Matrix& a, const Rows3& x, const ModelShape& model, uint32_t head) {
  const size_t kv_width = size_t{model.kv_heads} * model.head_dim;
  double most = 0;
  for (size_t r = 0; r < a.size(); ++r) {
    for (uint32_t d = 0; d < model.head_dim; ++d) {
      double expected = 0;
      for (size_t j = 0; j <= r; ++j)
        expected += a[r][j] * x.v[j * kv_width + head / model.group() * model.head_dim + d];
      most = std::max(most, std::abs(expected - o[r * model.q_width() + head * model.head_dim + d]));
    }
  }
  return most;
}

TEST(Act, ShrinksTheSinkOfAPromptAndSparesTheFirstToken) {
  OneLayer layer("mix=act(heads=0.0,beta=0.4,tau=0.1)"), dense("dense");
  const Rows3 x = rows_with_sinks(layer, 200, {0, 5}, 4);
  const std::vector<float> o = layer.feed(x, 180, 180), plain = dense.feed(x, 180, 180);
  Matrix a = attention_map(x, layer.model(), 0);
  const std::vector<uint32_t> sinks = find(a, 0, 180, 0.1);
  ASSERT_EQ(sinks, std::vector<uint32_t>{5});
  recalibrate(a, 0, 200, sinks, 0.4);  // decode rows go on with the prompt's sinks
  for (const std::vector<double>& row : a) {
    double sum = 0;
    for (const double p : row) sum += p;
    EXPECT_NEAR(sum, 1, 1e-9);
  }
  EXPECT_LT(worst(o, a, x, layer.model(), 0), 4e-3);
  EXPECT_GT(worst(plain, a, x, layer.model(), 0), 0.1);
  const ModelShape& model = layer.model();
  for (size_t i = 0; i < o.size(); ++i) {
    const bool unchanged = i < model.head_dim || i % model.q_width() >= model.head_dim;  // row 0, other heads
    if (unchanged) {
      ASSERT_EQ(o[i], plain[i]) << i;
    }
  }
}

TEST(Act, AnswersInCellsWhateverTheChunks) {
  constexpr uint32_t kRows = 200, kPrompt = 190;
  OneLayer layer("mix=act(heads=all,cell=64,tau=0.08)");
  const Rows3 x = rows_with_sinks(layer, kRows, {0, 7, 70}, 4);
  const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
  Matrix a = attention_map(x, layer.model(), 1);
  std::vector<uint32_t> sinks;
  for (uint32_t first = 0; first < kPrompt; first += 64) {
    const uint32_t last = std::min(first + 64, kPrompt);
    sinks = find(attention_map(x, layer.model(), 1), first, last, 0.08);
    recalibrate(a, first, last, sinks, 0.4);
  }
  EXPECT_EQ(sinks, (std::vector<uint32_t>{7, 70}));
  recalibrate(a, kPrompt, kRows, sinks, 0.4);
  EXPECT_LT(worst(whole, a, x, layer.model(), 1), 6e-3);
  for (const uint32_t chunk : {64u, 128u}) {
    layer.clear();
    EXPECT_EQ(layer.feed(x, kPrompt, chunk), whole) << chunk;
  }
}

TEST(Act, ShortLastCellsGoOnWithTheSinksBefore) {
  constexpr uint32_t kPrompt = 64 + 20;
  OneLayer layer("mix=act(heads=0.1,cell=64)");
  const Rows3 x = rows_with_sinks(layer, kPrompt, {5}, 4);
  const std::vector<float> o = layer.feed(x, kPrompt, kPrompt);
  Matrix a = attention_map(x, layer.model(), 1);
  const std::vector<uint32_t> sinks = find(a, 0, 64, 0.1);
  ASSERT_EQ(sinks, std::vector<uint32_t>{5});
  recalibrate(a, 0, kPrompt, sinks, 0.4);
  EXPECT_LT(worst(o, a, x, layer.model(), 1), 4e-3);
}

TEST(Act, CoarseCodesMeetTheSameSinks) {
  for (const char* store : {"kv8", "kv4"}) {
    OneLayer layer(fmt::format("store={};mix=act(heads=0.0)", store));
    const Rows3 x = rows_with_sinks(layer, 120, {5}, 4);
    Matrix a = attention_map(x, layer.model(), 0);
    recalibrate(a, 0, 120, {5}, 0.4);
    EXPECT_LT(worst(layer.feed(x, 110, 110), a, x, layer.model(), 0), store == std::string("kv8") ? 0.03 : 0.3);
  }
}

TEST(Act, IsDenseAtBetaOneAndWithoutHeads) {
  OneLayer dense("dense");
  const Rows3 x = rows_with_sinks(dense, 120, {5}, 4);
  const std::vector<float> expected = dense.feed(x, 110, 110);
  for (const char* plan : {"mix=act(heads=all,beta=1)", "mix=act(heads=none)"}) {
    OneLayer layer(plan);
    EXPECT_EQ(layer.feed(x, 110, 110), expected) << plan;
  }
}

TEST(Act, TakesHeadsThatGainFromAProfile) {
  Profile profile;
  profile.kind = "act";
  profile.layers = 1;
  profile.heads = 4;
  profile.values["gain"] = {-0.1, 0, 0.2, 0};
  OneLayer from_profile("act", {}, profile), named("mix=act(heads=0.2)");
  Rows3 x = named.random_rows(120, 3, 8);  // sharp: some positions stick out
  EXPECT_EQ(from_profile.feed(x, 110, 110), named.feed(x, 110, 110));
}

TEST(Act, RefusesNamedHeadsThatReadAWindow) {
  const ModelShape model{.layers = 2,
                         .query_heads = 4,
                         .kv_heads = 2,
                         .head_dim = 32,
                         .score_scale = 0.25F,
                         .windows = {64, 0},
                         .fingerprint = "two layers"};
  const auto made = [&](const char* text) {
    return Stages::make(*AttentionPlan::parse(text), model, {.model = model, .context = 4096, .profile = {}});
  };
  EXPECT_TRUE(made("mix=act(heads=1.1)").ok());
  EXPECT_TRUE(made("mix=act(heads=all)").ok());
  const Result<Stages> refused = made("mix=act(heads=1.1+0.3)");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message,
            "act: head 0.3 reads a window of 64 tokens by the model's own design, and act works on heads that read "
            "everything: leave it out");
}

}  // namespace
}  // namespace loci::test::act
