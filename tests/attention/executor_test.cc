#include "attention/executor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "cache/sequence_cache.h"
#include "kernels/cpu/kv_codec/hadamard.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

struct Shape {
  uint32_t query_heads, kv_heads, head_dim, window;
  KvCodec codec;
};

void PrintTo(const Shape& s, std::ostream* out) {
  *out << s.query_heads << "/" << s.kv_heads << " heads of " << s.head_dim << ", window " << s.window << ", "
       << to_string(s.codec);
}

// One layer's cache filled with random entries, and queries for its last rows.
class Attention : public testing::TestWithParam<Shape> {
 protected:
  static constexpr float kScale = 0.2F;

  Attention() : pool_(uint64_t{1} << 30) {
    const Shape& s = GetParam();
    layout_ =
        std::make_unique<CacheLayout>(std::vector<LayerShape>{{s.kv_heads, s.head_dim, s.codec, s.window}}, pool_);
  }

  SequenceCache fill(uint32_t tokens, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 1);
    SequenceCache cache(*layout_);
    EXPECT_TRUE(cache.reserve(tokens).ok());
    cache.append(LayerId(0), tokens);
    std::vector<float> k(GetParam().head_dim), v(GetParam().head_dim);
    for (uint32_t t = 0; t < tokens; ++t) {
      for (uint32_t h = 0; h < GetParam().kv_heads; ++h) {
        for (float& x : k) x = normal(random);
        for (float& x : v) x = normal(random);
        cache.write_entry(LayerId(0), 0, h, TokenPos(t), k.data(), v.data());
      }
    }
    cache.end_pass(tokens);
    return cache;
  }

  std::vector<float> queries(uint32_t rows, uint32_t seed) const {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> q(size_t{rows} * GetParam().query_heads * GetParam().head_dim);
    for (float& x : q) x = normal(random);
    return q;
  }

  struct Output {
    std::vector<float> o;
    std::vector<float> lse;
    bool operator==(const Output& other) const {
      return o.size() == other.o.size() && std::memcmp(o.data(), other.o.data(), o.size() * 4) == 0 &&
             std::memcmp(lse.data(), other.lse.data(), lse.size() * 4) == 0;
    }
  };

  // Reads of the last `rows` positions, cut into calls of `step` rows.
  Output read(const SequenceCache& cache, std::vector<float> q, uint32_t rows, uint32_t step, int threads,
              Isa isa) const {
    const Shape& s = GetParam();
    const uint32_t width = s.query_heads * s.head_dim;
    ThreadPool pool(threads);
    const WorkPlan plan = Executor::plan({.rows = rows,
                                          .reads = 1,
                                          .slots = cache.tokens(),
                                          .query_heads = s.query_heads,
                                          .kv_heads = s.kv_heads,
                                          .head_dim = s.head_dim,
                                          .precision = precision_,
                                          .schedule = schedule_},
                                         threads);
    Workspace scratch = std::move(*Workspace::allocate(plan.scratch_bytes));
    OpContext ops{pool, isa, scratch};
    Executor executor;
    Output out{std::vector<float>(q.size(), NAN), std::vector<float>(size_t{rows} * s.query_heads, NAN)};
    for (uint32_t first = 0; first < rows; first += step) {
      const uint32_t count = std::min(step, rows - first);
      std::vector<Read> reads;
      for (const Table& table : cache.tables(LayerId(0))) {
        reads.push_back(
            {&table, 0, count, TokenPos(cache.tokens() - rows + first), {.window = s.window}, PartId(0), phase_});
      }
      executor.run(ops, plan, reads, Rows{q.data() + size_t{first} * width, count, width, width}, kScale,
                   Rows{out.o.data() + size_t{first} * width, count, width, width},
                   std::span(out.lse).subspan(size_t{first} * s.query_heads, size_t{count} * s.query_heads));
    }
    return out;
  }

  // Softmax attention in double over the decoded entries.
  Output reference(const SequenceCache& cache, const std::vector<float>& q, uint32_t rows) const {
    const Shape& s = GetParam();
    const uint32_t group = s.query_heads / s.kv_heads;
    Output out{std::vector<float>(q.size()), std::vector<float>(size_t{rows} * s.query_heads)};
    for (const Table& table : cache.tables(LayerId(0))) {
      const PageLayout& layout = table.layout();
      std::vector<float> keys(size_t{layout.padded_dim} * kPageSlots), values(keys.size());
      for (size_t h = 0; h < table.heads().size(); ++h) {
        std::vector<std::vector<float>> k(table.length()), v(table.length());
        for (uint32_t slot = 0; slot < table.length(); ++slot) {
          if (!table.stripe_present(slot / kPageSlots)) continue;
          if (slot % kPageSlots == 0) {
            kv_decode_kernels(Isa::kScalar).keys(layout, table.page_of(SlotId(slot), h), keys.data());
            kv_decode_kernels(Isa::kScalar).values(layout, table.page_of(SlotId(slot), h), values.data());
          }
          k[slot].resize(layout.padded_dim);
          for (uint32_t d = 0; d < layout.padded_dim; ++d)
            k[slot][d] = keys[size_t{d} * kPageSlots + slot % kPageSlots];
          if (layout.rotated) rotate_groups(k[slot].data(), layout.padded_dim);
          v[slot].assign(values.begin() + size_t{slot % kPageSlots} * layout.padded_dim,
                         values.begin() + size_t{slot % kPageSlots + 1} * layout.padded_dim);
        }
        for (uint32_t r = 0; r < rows; ++r) {
          const uint32_t position = cache.tokens() - rows + r;
          for (uint32_t g = 0; g < group; ++g) {
            const size_t head = table.heads()[h].value * group + g;
            const float* query = q.data() + (size_t{r} * s.query_heads + head) * s.head_dim;
            double sum = 0;
            std::vector<double> o(s.head_dim, 0.0);
            for (uint32_t slot = 0; slot < table.length(); ++slot) {
              const uint32_t at = table.position(SlotId(slot)).value;
              if (at > position || (s.window > 0 && at + s.window <= position)) continue;
              double score = 0;
              for (uint32_t d = 0; d < s.head_dim; ++d) score += double{query[d]} * k[slot][d];
              const double weight = std::exp(score * kScale);
              sum += weight;
              for (uint32_t d = 0; d < s.head_dim; ++d) o[d] += weight * v[slot][d];
            }
            out.lse[size_t{r} * s.query_heads + head] = static_cast<float>(std::log(sum));
            for (uint32_t d = 0; d < s.head_dim; ++d) {
              out.o[(size_t{r} * s.query_heads + head) * s.head_dim + d] = static_cast<float>(sum > 0 ? o[d] / sum : 0);
            }
          }
        }
      }
    }
    return out;
  }

  // Each way that reads are performed in, and how near the softmax it must come: at most, and on the mean. bfloat16,
  // and the 8-bit queries that meet kv4, move a score by about 2^-8 of itself: there the bounds grow with the scores,
  // whose deviation is 0.4 sqrt(head_dim).
  struct Way {
    ReadPhase phase;
    ReadPrecision precision;
    double most;
    double mean;
  };
  static constexpr Way kWays[] = {{ReadPhase::kPrompt, ReadPrecision::kFp32, 2e-4, 2e-5},
                                  {ReadPhase::kDecode, ReadPrecision::kFp32, 2e-4, 2e-5},
                                  {ReadPhase::kPrompt, ReadPrecision::kFast, 0, 0},
                                  {ReadPhase::kDecode, ReadPrecision::kFast, 4e-3, 3e-4}};

  void take(const Way& way) {
    phase_ = way.phase;
    precision_ = way.precision;
  }

  static void expect_near(const std::vector<float>& got, const std::vector<float>& wanted, const Way& way) {
    const bool coarse =
        way.precision == ReadPrecision::kFast && (way.phase == ReadPhase::kPrompt || GetParam().codec == KvCodec::kKv4);
    const double deviation = 0.4 * std::sqrt(static_cast<double>(GetParam().head_dim));
    const double most = coarse ? 4e-2 * deviation : way.most;
    const double mean = coarse ? 6e-3 * deviation : way.mean;
    double sum = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_NEAR(got[i], wanted[i], most) << i;
      sum += std::abs(double{got[i]} - wanted[i]);
    }
    EXPECT_LE(sum / static_cast<double>(wanted.size()), mean);
  }
  static void expect_near(const Output& got, const Output& wanted, const Way& way) {
    expect_near(got.o, wanted.o, way);
    expect_near(got.lse, wanted.lse, way);
  }

  ReadPhase phase_ = ReadPhase::kPrompt;
  ReadPrecision precision_ = ReadPrecision::kFast;
  Schedule schedule_ = Schedule::kStream;
  PagePool pool_;
  std::unique_ptr<CacheLayout> layout_;
};

TEST_P(Attention, EqualsTheSoftmax) {
  for (const uint32_t tokens : {1u, 63u, 64u, 65u, 511u, 1100u, 4200u}) {
    const SequenceCache cache = fill(tokens, tokens);
    const uint32_t rows = std::min(tokens, 35u);
    const std::vector<float> q = queries(rows, tokens + 1);
    const Output wanted = reference(cache, q, rows);
    for (const Isa isa : supported_isas()) {
      for (const Way& way : kWays) {
        SCOPED_TRACE(testing::Message() << tokens << " tokens, " << to_string(isa) << ", way " << (&way - kWays));
        take(way);
        expect_near(read(cache, q, rows, rows, 2, isa), wanted, way);
      }
    }
  }
}

TEST_P(Attention, BitsDoNotDependOnThreadsOrCuts) {
  // Beyond two segments, so that partial states of items and segments are published.
  const uint32_t tokens = 9000, rows = 70;
  const SequenceCache cache = fill(tokens, 7);
  const std::vector<float> q = queries(rows, 8);
  for (const Way& way : kWays) {
    take(way);
    const Output alone = read(cache, q, rows, rows, 1, best_isa());
    for (const int threads : {2, 3, 5}) {
      EXPECT_TRUE(alone == read(cache, q, rows, rows, threads, best_isa())) << threads;
      EXPECT_TRUE(alone == read(cache, q, rows, 1, threads, best_isa())) << threads;
      EXPECT_TRUE(alone == read(cache, q, rows, 13, threads, best_isa())) << threads;
      schedule_ = Schedule::kSplit;
      EXPECT_TRUE(alone == read(cache, q, rows, rows, threads, best_isa())) << threads << ", fixed split";
      EXPECT_TRUE(alone == read(cache, q, rows, 1, threads, best_isa())) << threads << ", fixed split";
      schedule_ = Schedule::kStream;
    }
  }
}

TEST_P(Attention, HeadsMayKeepDifferentTokens) {
  const Shape& s = GetParam();
  SequenceCache cache = fill(700, 9);
  std::mt19937 random(10);
  std::vector<SlotId> kept;
  for (uint32_t slot = 0; slot < 700; ++slot) {
    if (slot > 690 || random() % 3 == 0) kept.push_back(SlotId(slot));
  }
  ASSERT_TRUE(cache.keep(LayerId(0), std::vector{KvHead(s.kv_heads - 1)}, kept).ok());
  EXPECT_EQ(cache.tables(LayerId(0)).size(), s.kv_heads == 1 ? 1u : 2u);
  const std::vector<float> q = queries(5, 11);
  for (const Way& way : kWays) {
    take(way);
    const Output got = read(cache, q, 5, 5, 2, best_isa());
    expect_near(got, reference(cache, q, 5), way);
    EXPECT_TRUE(got == read(cache, q, 5, 1, 3, best_isa()));
  }
}

// Prompt chunks and decode rows of sequences of any length meet in one run, each as if it were alone.
TEST_P(Attention, SequencesInOneRunDoNotTouchEachOther) {
  const Shape& s = GetParam();
  const uint32_t width = s.query_heads * s.head_dim;
  std::mt19937 random(12);
  for (int round = 0; round < 4; ++round) {
    std::vector<SequenceCache> caches;
    std::vector<uint32_t> rows;
    std::vector<std::vector<float>> queries_of;
    std::vector<Output> alone;
    const uint32_t count = 2 + random() % 5, long_one = random() % count;
    uint32_t total = 0, longest = 0;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t tokens = i == long_one ? 4097 + random() % 2000 : 1 + random() % 700;
      caches.push_back(fill(tokens, 100 * (round + 1) + i));
      if (random() % 3 == 0) {  // one head of its own length
        std::vector<SlotId> kept;
        for (uint32_t slot = random() % tokens; slot < tokens; slot += 1 + random() % 4) kept.push_back(SlotId(slot));
        ASSERT_TRUE(caches.back().keep(LayerId(0), std::vector{KvHead(random() % s.kv_heads)}, kept).ok());
      }
      rows.push_back(random() % 2 == 0 ? 1 : 1 + random() % std::min(tokens, 60u));
      queries_of.push_back(queries(rows.back(), 1000 + total));
      alone.push_back(read(caches.back(), queries_of.back(), rows.back(), rows.back(), 1, best_isa()));
      total += rows.back();
      longest = std::max(longest, tokens);
    }
    std::vector<float> q;
    std::vector<Read> reads;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t first_row = static_cast<uint32_t>(q.size() / width);
      q.insert(q.end(), queries_of[i].begin(), queries_of[i].end());
      for (const Table& table : caches[i].tables(LayerId(0))) {
        reads.push_back(
            {&table, first_row, rows[i], TokenPos(caches[i].tokens() - rows[i]), {.window = s.window}, PartId(0)});
      }
    }
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      const WorkPlan plan = Executor::plan({.rows = total,
                                            .reads = static_cast<uint32_t>(reads.size()),
                                            .slots = longest,
                                            .query_heads = s.query_heads,
                                            .kv_heads = s.kv_heads,
                                            .head_dim = s.head_dim},
                                           threads);
      Workspace scratch = std::move(*Workspace::allocate(plan.scratch_bytes));
      OpContext ops{pool, best_isa(), scratch};
      Output together{std::vector<float>(q.size(), NAN), std::vector<float>(size_t{total} * s.query_heads, NAN)};
      Executor executor;
      executor.run(ops, plan, reads, Rows{q.data(), total, width, width}, kScale,
                   Rows{together.o.data(), total, width, width}, together.lse);
      uint32_t row = 0;
      for (uint32_t i = 0; i < count; row += rows[i], ++i) {
        EXPECT_EQ(0, std::memcmp(together.o.data() + size_t{row} * width, alone[i].o.data(), alone[i].o.size() * 4))
            << "sequence " << i << " of " << count << ", " << rows[i] << " rows, " << threads << " threads";
        EXPECT_EQ(0, std::memcmp(together.lse.data() + size_t{row} * s.query_heads, alone[i].lse.data(),
                                 alone[i].lse.size() * 4));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         testing::Values(Shape{3, 1, 64, 0, KvCodec::kKv16}, Shape{8, 4, 64, 0, KvCodec::kKv8},
                                         Shape{4, 4, 32, 0, KvCodec::kKv4}, Shape{4, 1, 256, 100, KvCodec::kKv16},
                                         Shape{6, 2, 80, 500, KvCodec::kKv4}, Shape{2, 2, 8, 64, KvCodec::kKv8},
                                         Shape{7, 1, 128, 1, KvCodec::kKv16}));

}  // namespace
}  // namespace loci
