#include <algorithm>
#include <set>

#include "attention/one_layer.h"
#include "attention/select/plain_select.h"

namespace loci::test::recycled {
namespace {

struct Settings {
  uint32_t stride, k;
  bool query = false;
  uint32_t check = 5;
  double similarity = 0.8;
  uint32_t pool = 1;
  bool max = false;

  std::string text() const {
    return fmt::format("select=decode:recycled(stride={},k={},schedule={},check={},similarity={},pool={},group={})",
                       stride, k, query ? "query" : "fixed", check, similarity, pool, max ? "max" : "mean");
  }
};

constexpr uint32_t kPrompt = 150;

// What the card says, in plain loops, of one KV head.
class PlainRecycled {
 public:
  PlainRecycled(const Rows3& x, const ModelShape& model, Settings settings, uint32_t head)
      : x_(x), model_(model), s_(settings), head_(head) {
    std::set<uint32_t> all;
    for (uint32_t j = 0; j < kPrompt; ++j) all.insert(j);
    choose(kPrompt - 1, all);
  }

  std::set<uint32_t> step(uint32_t r) {
    const uint32_t t = r - (kPrompt - 1);
    std::set<uint32_t> all;
    for (uint32_t j = 0; j <= r; ++j) all.insert(j);
    const bool full = s_.query ? t % s_.check == 0 && similarity(r) < s_.similarity : t % s_.stride == 0;
    if (full) {
      ++full_steps;
      choose(r, all);
      return all;
    }
    std::set<uint32_t> read = list_;
    read.insert(r);
    list_ = read;
    if (list_.size() > s_.k) {
      const std::vector<double> p = shares(r, read);
      uint32_t worst = r;
      for (const uint32_t j : read) {
        if (j != 0 && j != r && (worst == r || p[j] < p[worst])) worst = j;
      }
      list_.erase(worst);
    }
    return read;
  }

  uint32_t full_steps = 0;

 private:
  std::vector<double> shares(uint32_t r, const std::set<uint32_t>& read) const {
    std::vector<double> out(r + 1, 0.0);
    for (uint32_t g = 0; g < model_.group(); ++g) {
      std::vector<double> p(r + 1, 0.0);
      double sum = 0;
      for (const uint32_t j : read)
        sum += p[j] = std::exp(model_.score_scale * plain_score(x_, model_, r, head_ * model_.group() + g, j));
      for (const uint32_t j : read)
        out[j] = s_.max ? std::max(out[j], p[j] / sum) : out[j] + p[j] / sum / model_.group();
    }
    return out;
  }

  // Over all query heads of the layer.
  double similarity(uint32_t r) const {
    double sum = 0;
    for (uint32_t h = 0; h < model_.query_heads; ++h) {
      double ab = 0, aa = 0, bb = 0;
      for (uint32_t d = 0; d < model_.head_dim; ++d) {
        const double a = x_.q[r * model_.q_width() + h * model_.head_dim + d];
        const double b = x_.q[reference_ * model_.q_width() + h * model_.head_dim + d];
        ab += a * b, aa += a * a, bb += b * b;
      }
      sum += ab / std::sqrt(aa * bb);
    }
    return sum / model_.query_heads;
  }

  void choose(uint32_t r, const std::set<uint32_t>& all) {
    reference_ = r;
    const std::vector<double> p = shares(r, all);
    std::vector<double> pooled(p.size());
    for (size_t i = 0; i < p.size(); ++i) {
      for (size_t j = i < s_.pool / 2 ? 0 : i - s_.pool / 2; j <= std::min(p.size() - 1, i + s_.pool / 2); ++j)
        pooled[i] = std::max(pooled[i], p[j]);
    }
    const std::vector<uint32_t> best = largest(pooled, 0, s_.k);
    list_ = {best.begin(), best.end()};
  }

  const Rows3& x_;
  const ModelShape& model_;
  Settings s_;
  uint32_t head_;
  uint32_t reference_ = 0;
  std::set<uint32_t> list_;
};

TEST(Recycled, ReadsWhatTheLastFullStepAttendedTo) {
  constexpr uint32_t kRows = 260;
  for (const Settings& s : {Settings{10, 32},
                            {200, 32},
                            {50, 100, false, 5, 0.8, 5, true},
                            {1, 40, true},
                            {1, 40, true, 3, 0.95, 1, true}}) {
    OneLayer layer(s.text());
    const Rows3 x = alike_rows(layer, kRows, 21, 12);
    std::vector<std::vector<std::set<uint32_t>>> reads;
    for (uint32_t h = 0; h < 2; ++h) {
      PlainRecycled plain(x, layer.model(), s, h);
      reads.emplace_back(kRows);
      for (uint32_t r = kPrompt; r < kRows; ++r) reads[h][r] = plain.step(r);
      EXPECT_LT(plain.full_steps, 40u) << s.text();
      EXPECT_GE(plain.full_steps, s.stride == 200 ? 0u : 2u) << s.text();
    }
    const std::vector<float> expected = masked_attention(x, layer.model(), [&](uint32_t r, uint32_t h, uint32_t j) {
      return r < kPrompt || reads[h / 2][r].contains(j) ? 0.0F : kUnread;
    });
    EXPECT_LT(largest_difference(layer.feed(x, kPrompt, 64), expected), 2e-3) << s.text();
  }
}

TEST(Recycled, EveryStepFullOrListsOfEverythingAreDense) {
  OneLayer dense("dense");
  const Rows3 x = dense.random_rows(220, 22);
  const std::vector<float> expected = dense.feed(x, kPrompt, kPrompt);
  for (const char* plan : {"recycled(stride=1,k=16)", "recycled(stride=7,k=220)", "recycled(stride=7,k=100000)",
                           "recycled(schedule=query,check=1,similarity=1.5,k=16)"}) {
    OneLayer layer(fmt::format("select=decode:{}", plan));
    EXPECT_EQ(layer.feed(x, kPrompt, kPrompt), expected) << plan;
  }
}

TEST(Recycled, ChunksOfThePromptDoNotMatter) {
  for (const char* store : {"kv16", "kv8", "kv4"}) {
    const std::string plan = fmt::format("{}; store={}", Settings{20, 33}.text(), store);
    OneLayer whole(plan), cut(plan, {.threads = 3});
    const Rows3 x = whole.random_rows(230, 23);
    EXPECT_EQ(whole.feed(x, kPrompt, kPrompt), cut.feed(x, kPrompt, 19)) << plan;
  }
}

// Lists that begin when the sequence has outgrown k.
TEST(Recycled, ASequenceThatOutgrowsTheListBeginsWithAFullStep) {
  OneLayer layer("select=decode:recycled(stride=1000,k=170)"), dense("dense");
  const Rows3 x = layer.random_rows(220, 24);
  const std::vector<float> out = layer.feed(x, kPrompt, kPrompt), all = dense.feed(x, kPrompt, kPrompt);
  const auto row = [&](const std::vector<float>& of, uint32_t r) {
    return std::vector<float>(of.begin() + r * layer.model().q_width(), of.begin() + (r + 1) * layer.model().q_width());
  };
  for (uint32_t r = 0; r <= 170; ++r) EXPECT_EQ(row(out, r), row(all, r)) << r;
  EXPECT_NE(row(out, 180), row(all, 180));
}

TEST(Recycled, TrimmedStepsRepeatAndCopiesAreMadeAgain) {
  constexpr uint32_t kRows = 230;
  OneLayer layer(Settings{50, 33}.text());
  const Rows3 x = layer.random_rows(kRows, 25);
  const std::vector<float> out = layer.feed(x, kPrompt, kPrompt);
  const auto repeats = [&](uint32_t from) {
    for (uint32_t r = from; r < kRows; ++r) {
      const std::vector<float> again = layer.pass(x, r, 1);
      EXPECT_TRUE(std::equal(again.begin(), again.end(), out.begin() + r * layer.model().q_width())) << r;
      if (r % 7 == 0) layer.state() = SequenceState(std::as_const(layer.state()));  // as a fork has it
    }
  };
  ASSERT_TRUE(layer.cache().trim(kRows - 30));
  layer.state().trim(kRows - 30);
  repeats(kRows - 30);
  // Other tokens at the same places in between.
  ASSERT_TRUE(layer.cache().trim(kRows - 10));
  layer.state().trim(kRows - 10);
  layer.pass(x, 0, 1);
  ASSERT_TRUE(layer.cache().trim(kRows - 10));
  layer.state().trim(kRows - 10);
  repeats(kRows - 10);
}

TEST(Recycled, HeadsThatKeepDifferentEntriesRecycleTheirOwn) {
  OneLayer layer("retain=snapkv(budget=100,window=8); " + Settings{20, 33}.text());
  const Rows3 x = layer.random_rows(230, 26);
  const std::vector<float> out = layer.feed(x, kPrompt, kPrompt);
  EXPECT_EQ(out, OneLayer("retain=snapkv(budget=100,window=8); " + Settings{20, 33}.text()).feed(x, kPrompt, 50));
  EXPECT_NE(out, OneLayer("retain=snapkv(budget=100,window=8)").feed(x, kPrompt, kPrompt));
}

}  // namespace
}  // namespace loci::test::recycled
