#include <algorithm>
#include <limits>
#include <set>

#include "attention/one_layer.h"
#include "attention/select/plain_select.h"

namespace loci::test::tokenselect {
namespace {

struct Settings {
  uint32_t k, sinks, local;
  double theta;
  bool pooled = false;
  bool renumber = false;

  std::string text() const {
    return fmt::format("select=decode:tokenselect(k={},sinks={},local={},theta={},estimate={},positions={})", k, sinks,
                       local, theta, pooled ? "pooled" : "exact", renumber ? "renumber" : "true");
  }
};

// q . k with the query's position moved by `query_move` and the key's by `key_move`.
double moved_score(const Rows3& x, const ModelShape& model, uint32_t row, uint32_t head, uint32_t entry, int query_move,
                   int key_move) {
  const float* q = &x.q[row * model.q_width() + size_t{head} * model.head_dim];
  const float* k = &x.k[(size_t{entry} * model.kv_heads + head / model.group()) * model.head_dim];
  const size_t half = model.rotary.inverse_frequencies.size();
  const bool adjacent = model.rotary.pairing == RopePairing::kAdjacent;
  double sum = 0;
  for (size_t i = 0; i < half; ++i) {
    const size_t a = adjacent ? 2 * i : i, b = adjacent ? 2 * i + 1 : i + half;
    const double angle = (key_move - query_move) * model.rotary.inverse_frequencies[i];
    const double c = std::cos(angle), s = std::sin(angle);
    sum += q[a] * (k[a] * c - k[b] * s) + q[b] * (k[b] * c + k[a] * s);
  }
  return sum;
}

// What the card says, in plain loops. `present[h]`: positions that KV head h holds of the prompt; empty: all.
class PlainTokenSelect {
 public:
  PlainTokenSelect(const Rows3& x, const ModelShape& model, Settings settings,
                   std::vector<std::set<uint32_t>> present = {}, uint32_t prompt = 0)
      : x_(x), model_(model), s_(settings), present_(std::move(present)), prompt_(prompt) {}

  // What KV head `head` reads in decode step r; call with ascending r.
  std::set<uint32_t> step(uint32_t r) {
    std::set<uint32_t> all;
    for (uint32_t j = 0; j <= r; ++j) all.insert(j);
    if (s_.sinks + s_.k + s_.local >= r + 1) return all;
    const bool fresh = since_ == 0 || s_.theta >= 1 || r + 1 - since_ > s_.local / 2 || similarity(r) < s_.theta;
    if (fresh) choose(r);
    chosen_steps += fresh ? 1 : 0;
    std::set<uint32_t> out = list_;
    const uint32_t first = s_.pooled ? (s_.sinks + 63) / 64 * 64 : s_.sinks;
    const uint32_t edge = s_.pooled ? (since_ - s_.local) / 64 * 64 : since_ - s_.local;
    for (uint32_t j = 0; j <= r; ++j) {
      if (j < first || j >= edge) out.insert(j);
    }
    return out;
  }

  uint32_t chosen_steps = 0;

 private:
  bool holds(uint32_t head, uint32_t j) const { return present_.empty() || j >= prompt_ || present_[head].contains(j); }

  double similarity(uint32_t r) const {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < model_.q_width(); ++i) {
      const double a = x_.q[r * model_.q_width() + i], b = x_.q[(since_ - 1) * model_.q_width() + i];
      ab += a * b, aa += a * a, bb += b * b;
    }
    return ab / std::sqrt(aa * bb);
  }

  // Of content alone, if positions are renumbered: the query at `local`, the key at 0.
  double choosing_score(uint32_t r, uint32_t h, uint32_t j) const {
    if (!s_.renumber || s_.pooled) return plain_score(x_, model_, r, h, j);
    return moved_score(x_, model_, r, h, j, static_cast<int>(s_.local) - static_cast<int>(r), -static_cast<int>(j));
  }

  void choose(uint32_t r) {
    since_ = r + 1;
    list_.clear();
    const uint32_t edge = since_ - s_.local;
    // Elements are tokens, or pages with their mean keys.
    const uint32_t size = s_.pooled ? 64 : 1;
    const uint32_t first = s_.pooled ? (s_.sinks + 63) / 64 : s_.sinks, last = edge / size;
    const uint32_t wanted = (s_.k + size - 1) / size;
    std::vector<double> votes(last, 0.0);
    for (uint32_t h = 0; h < model_.query_heads; ++h) {
      std::vector<double> score(last);
      double most = -1e300, sum = 0;
      for (uint32_t e = first; e < last; ++e) {
        if (!holds(h / model_.group(), e * size)) continue;
        for (uint32_t j = e * size; j < (e + 1) * size; ++j) score[e] += choosing_score(r, h, j) / size;
        most = std::max(most, score[e]);
      }
      for (uint32_t e = first; e < last; ++e) {
        if (holds(h / model_.group(), e * size)) sum += std::exp(score[e] - most);
      }
      for (uint32_t e = first; e < last; ++e) {
        if (holds(h / model_.group(), e * size)) votes[e] += std::exp(score[e] - most) / sum;
      }
    }
    for (const uint32_t e : largest(votes, first, wanted)) {
      for (uint32_t j = e * size; j < (e + 1) * size; ++j) list_.insert(j);
    }
  }

  const Rows3& x_;
  const ModelShape& model_;
  Settings s_;
  std::vector<std::set<uint32_t>> present_;
  uint32_t prompt_;
  uint32_t since_ = 0;
  std::set<uint32_t> list_;
};

constexpr uint32_t kPrompt = 400, kRows = 460;

std::vector<float> expected(const Rows3& x, const ModelShape& model, PlainTokenSelect& plain,
                            const std::vector<std::set<uint32_t>>& present = {}) {
  std::vector<std::set<uint32_t>> reads(kRows);
  for (uint32_t r = kPrompt; r < kRows; ++r) reads[r] = plain.step(r);
  return masked_attention(x, model, [&](uint32_t r, uint32_t h, uint32_t j) {
    if (r < kPrompt) return 0.0F;
    const bool held = present.empty() || j >= kPrompt || present[h / model.group()].contains(j);
    return held && reads[r].contains(j) ? 0.0F : kUnread;
  });
}

TEST(TokenSelect, ReadsWhatTheHeadsVoteFor) {
  for (const Settings& s : {Settings{40, 4, 32, 0.9}, {40, 70, 100, 2.0}, {7, 0, 1, 0.9}, {64, 64, 64, -1.0}}) {
    OneLayer layer(s.text());
    const Rows3 x = alike_rows(layer, kRows, 8, 5);
    PlainTokenSelect plain(x, layer.model(), s);
    EXPECT_LT(largest_difference(layer.feed(x, kPrompt, 128), expected(x, layer.model(), plain)), 2e-3) << s.text();
    if (s.theta > 1) {
      EXPECT_EQ(plain.chosen_steps, kRows - kPrompt);
    } else if (s.local > 1) {
      EXPECT_LT(plain.chosen_steps, (kRows - kPrompt) / 2);
    }
  }
}

TEST(TokenSelect, PooledKeysChooseWholePages) {
  for (const Settings& s : {Settings{64, 4, 32, 0.9, true}, {100, 70, 100, 2.0, true}}) {
    OneLayer layer(s.text());
    const Rows3 x = alike_rows(layer, kRows, 9, 5);
    PlainTokenSelect plain(x, layer.model(), s);
    EXPECT_LT(largest_difference(layer.feed(x, kPrompt, 400), expected(x, layer.model(), plain)), 2e-3) << s.text();
  }
}

TEST(TokenSelect, ShortSequencesAndWideListsAreDense) {
  OneLayer dense("dense"), wide("select=decode:tokenselect(k=100000)"),
      just("select=decode:tokenselect(k=420,sinks=8,local=32)"),
      pooled("select=decode:tokenselect(k=420,sinks=8,local=32,estimate=pooled)");
  const Rows3 x = dense.random_rows(kRows, 10);
  const std::vector<float> all = dense.feed(x, kPrompt, kPrompt);
  EXPECT_EQ(wide.feed(x, kPrompt, kPrompt), all);
  EXPECT_EQ(just.feed(x, kPrompt, kPrompt), all);
  EXPECT_EQ(pooled.feed(x, kPrompt, kPrompt), all);
}

TEST(TokenSelect, ChunksOfThePromptDoNotMatter) {
  for (const char* store : {"kv16", "kv8", "kv4"}) {
    for (const int kind : {0, 1, 2, 3}) {
      const std::string plan =
          fmt::format("{}; store={}", Settings{40, 4, 32, 0.9, kind % 2 == 1, kind >= 2}.text(), store);
      OneLayer whole(plan), cut(plan, {.threads = 3});
      const Rows3 x = alike_rows(whole, kRows, 11, 5);
      EXPECT_EQ(whole.feed(x, kPrompt, kPrompt), cut.feed(x, kPrompt, 37)) << plan;
    }
  }
}

// What is read stands side by side from 0 on, with the query behind it.
TEST(TokenSelect, RenumbersWhatItReads) {
  for (const RopePairing pairing : {RopePairing::kHalves, RopePairing::kAdjacent}) {
    for (const Settings& s :
         {Settings{40, 4, 32, 0.9, false, true}, {40, 70, 100, 2.0, false, true}, {64, 4, 32, 0.9, true, true}}) {
      OneLayer layer(s.text(), {.pairing = pairing});
      const ModelShape& model = layer.model();
      const Rows3 x = alike_rows(layer, kRows, 15, 5);
      const std::vector<float> out = layer.feed(x, kPrompt, 128);
      PlainTokenSelect plain(x, model, s);
      double moved = 0;
      for (uint32_t r = kPrompt; r < kRows; ++r) {
        const std::set<uint32_t> read = plain.step(r);
        ASSERT_LT(read.size(), r + 1);
        for (uint32_t h = 0; h < model.query_heads; ++h) {
          std::vector<double> o(model.head_dim, 0.0);
          double sum = 0;
          int place = 0;
          for (const uint32_t j : read) {
            const int query_move = static_cast<int>(read.size()) - 1 - static_cast<int>(r);
            const double score = moved_score(x, model, r, h, j, query_move, place++ - static_cast<int>(j));
            moved = std::max(moved, std::abs(score - plain_score(x, model, r, h, j)));
            const double weight = std::exp(score * model.score_scale);
            sum += weight;
            for (uint32_t d = 0; d < model.head_dim; ++d)
              o[d] += weight * x.v[(size_t{j} * model.kv_heads + h / model.group()) * model.head_dim + d];
          }
          for (uint32_t d = 0; d < model.head_dim; ++d) {
            ASSERT_NEAR(out[r * model.q_width() + h * model.head_dim + d], o[d] / sum, 2e-3)
                << s.text() << " row " << r << " head " << h;
          }
        }
      }
      EXPECT_GT(moved, 5) << "positions make a difference here";
    }
  }
}

// The paper's exact check: while everything is read, numbers are as they were.
TEST(TokenSelect, RenumberingAllChangesNothing) {
  OneLayer dense("dense"), renumbered("select=decode:tokenselect(k=420,sinks=8,local=32,positions=renumber)");
  const Rows3 x = dense.random_rows(kRows, 10);
  EXPECT_EQ(renumbered.feed(x, kPrompt, kPrompt), dense.feed(x, kPrompt, kPrompt));
}

TEST(TokenSelect, RenumberingNeedsRotaryEmbedding) {
  ModelShape model{.layers = 1, .query_heads = 2, .kv_heads = 1, .head_dim = 32, .windows = {0}, .fingerprint = {}};
  const Result<AttentionPlan> plan = AttentionPlan::parse("select=decode:tokenselect(positions=renumber)");
  ASSERT_TRUE(plan.ok());
  const MethodContext context{.model = model, .context = 1024, .profile = {}};
  const Result<Stages> stages = Stages::make(*plan, model, context);
  ASSERT_FALSE(stages.ok());
  EXPECT_EQ(stages.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(stages.error().message.find("positions=true"), std::string::npos) << stages.error().message;
}

// Heads that hold different entries vote for positions.
TEST(TokenSelect, VotesOverTablesWithDifferentEntries) {
  const Settings s{40, 4, 32, 0.9};
  OneLayer layer("retain=snapkv(budget=250,window=8); " + s.text());
  const Rows3 x = alike_rows(layer, kRows, 12, 5);
  const std::vector<float> out = layer.feed(x, kPrompt, kPrompt);
  std::vector<std::set<uint32_t>> present(2);
  for (const Table& table : layer.cache().tables(LayerId(0))) {
    for (const KvHead head : table.heads()) {
      for (uint32_t slot = 0; slot < 250; ++slot) present[head.value].insert(table.position(SlotId(slot)).value);
    }
  }
  ASSERT_NE(present[0], present[1]);
  PlainTokenSelect plain(x, layer.model(), s, present, kPrompt);
  EXPECT_LT(largest_difference(out, expected(x, layer.model(), plain, present)), 2e-3);
}

TEST(TokenSelect, AGoodTokenIsFoundBesideALoudHead) {
  OneLayer layer("select=decode:tokenselect(k=8,sinks=4,local=16,theta=2)");
  Rows3 x = layer.random_rows(kRows, 13);
  const ModelShape& model = layer.model();
  const uint32_t planted = 200, last = kRows - 1;
  float* q = &x.q[last * model.q_width()];
  for (uint32_t d = 0; d < model.head_dim; ++d) {
    q[d] *= 50;                                                                                // the loud head
    q[3 * model.head_dim + d] = 8 * x.k[(planted * model.kv_heads + 1) * model.head_dim + d];  // the one that knows
  }
  const std::vector<float> out = layer.feed(x, kPrompt, kPrompt);
  for (uint32_t d = 0; d < model.head_dim; ++d) {
    EXPECT_NEAR(out[last * model.q_width() + 3 * model.head_dim + d],
                x.v[(planted * model.kv_heads + 1) * model.head_dim + d], 0.02);
  }
}

TEST(TokenSelect, TrimmedStepsRepeat) {
  for (const int kind : {0, 1, 2, 3}) {
    OneLayer layer(Settings{40, 4, 32, 0.9, kind % 2 == 1, kind >= 2}.text());
    const Rows3 x = alike_rows(layer, kRows, 14, 5);
    const std::vector<float> out = layer.feed(x, kPrompt, kPrompt);
    ASSERT_TRUE(layer.cache().trim(kRows - 20));
    layer.state().trim(kRows - 20);
    for (uint32_t r = kRows - 20; r < kRows; ++r) {
      const std::vector<float> again = layer.pass(x, r, 1);
      EXPECT_TRUE(std::equal(again.begin(), again.end(), out.begin() + r * layer.model().q_width())) << r;
    }
  }
}

}  // namespace
}  // namespace loci::test::tokenselect
