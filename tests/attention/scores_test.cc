// Scores of queries against keys: exact, in tiles, estimated, with the sums that a softmax needs.
#include "attention/primitives/scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "attention/primitive_arrays.h"
#include "attention/primitives/pool.h"
#include "attention/primitives/softmax.h"
#include "attention/primitives/votes.h"
#include "kernels/cpu/kv_codec/kv_codec.h"

namespace loci {
namespace {

using namespace primitive_arrays;

struct EncodedKeys {
  PageLayout layout;
  std::vector<std::vector<std::byte>> pages;
  std::vector<const std::byte*> pointers;
  Keys keys;
};

// Random keys, encoded, and what they decode to ([slot][padded_dim]).
EncodedKeys encode(Random& random, KvCodec codec, uint32_t dim, uint32_t count, std::vector<float>& decoded) {
  EncodedKeys out;
  out.layout = page_layout(codec, dim);
  const std::vector<float> v(dim, 0.5F);
  std::vector<float> k(dim);
  for (uint32_t slot = 0; slot < count; ++slot) {
    if (slot % kPageSlots == 0) out.pages.emplace_back(out.layout.bytes);
    for (float& x : k) x = random.normal();
    encode_entry(out.layout, out.pages.back().data(), slot % kPageSlots, k.data(), v.data());
  }
  std::vector<float> tile(size_t{out.layout.padded_dim} * kPageSlots);
  for (const auto& page : out.pages) {
    out.pointers.push_back(page.data());
    kv_decode_kernels(Isa::kScalar).keys(out.layout, page.data(), tile.data());
    for (uint32_t s = 0; s < kPageSlots; ++s) {
      for (uint32_t i = 0; i < out.layout.padded_dim; ++i) decoded.push_back(tile[i * kPageSlots + s]);
    }
  }
  return out;
}

TEST(Scores, ExactOnesAreTheDotProductsOfDecodedKeys) {
  Random random(16);
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4}) {
    for (const uint32_t dim : {24u, 64u, 128u}) {
      std::vector<float> decoded[2];
      EncodedKeys keys[2] = {encode(random, codec, dim, 1 + random.below(1500), decoded[0]),
                             encode(random, codec, dim, 1 + random.below(100), decoded[1])};
      const uint32_t rows[2] = {1 + random.below(9), 1 + random.below(9)};
      std::vector<Grid> q, out;
      std::vector<ScoreJob> jobs;
      for (int j = 0; j < 2; ++j) {
        const PageLayout& layout = keys[j].layout;
        const Grid raw = filled(random, rows[j], dim, false);
        q.emplace_back(rows[j], layout.padded_dim, 0);
        prepare_queries(layout, raw.rows, 0.125F, q[j].rows);
        const auto count = static_cast<uint32_t>(keys[j].pages.size()) * kPageSlots;
        out.emplace_back(rows[j], count);
      }
      for (int j = 0; j < 2; ++j) {
        jobs.push_back({{&keys[j].layout, keys[j].pointers, nullptr, out[j].rows.width}, q[j].rows, out[j].rows});
      }
      everywhere([&](OpContext& context, const std::string& name) {
        for (Grid& t : out) std::fill(t.numbers.begin(), t.numbers.end(), -77.0F);
        scores(context, jobs);
        for (int j = 0; j < 2; ++j) {
          const uint32_t width = keys[j].layout.padded_dim;
          for (uint32_t r = 0; r < rows[j]; ++r) {
            for (uint32_t s = 0; s < out[j].rows.width; ++s) {
              float sum = 0;
              for (uint32_t i = 0; i < width; ++i) {
                sum = std::fma(q[j].rows.row(r)[i], decoded[j][size_t{s} * width + i], sum);
              }
              ASSERT_EQ(out[j].rows.row(r)[s], sum) << name << " " << to_string(codec) << " slot " << s;
            }
            EXPECT_EQ(out[j].numbers[r * out[j].rows.stride + out[j].rows.width], -77.0F);
          }
        }
      });
      EXPECT_LE(scores_scratch_bytes(keys[0].layout.padded_dim, 2, 3), size_t{1} << 20);
    }
  }
}

// Votes of some rows over a part of the slots, by sums that come with the scores, beside plain softmaxes.
TEST(Scores, SumsOfExponentialsGiveVotes) {
  Random random(18);
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8}) {
    for (const uint32_t slots : {70u, 512u, 1700u}) {
      constexpr uint32_t kDim = 64, kRows = 3;
      std::vector<float> decoded;
      const EncodedKeys keys = encode(random, codec, kDim, slots, decoded);
      const Grid raw = filled(random, kRows, kDim, false);
      Grid q(kRows, kDim, 0);
      prepare_queries(keys.layout, raw.rows, 0.5F, q.rows);
      const auto width = static_cast<uint32_t>(keys.pages.size()) * kPageSlots;
      const uint32_t blocks = (width + kScoreBlock - 1) / kScoreBlock;
      const uint32_t first = random.below(40), last = slots - random.below(30);
      Grid out(kRows, width), largest(kRows, blocks), sums(kRows, blocks);
      const ScoreJob job{.keys = {.layout = &keys.layout, .pages = keys.pointers, .tiles = nullptr, .count = slots},
                         .queries = q.rows,
                         .scores = out.rows,
                         .exps = {.largest = largest.rows, .sums = sums.rows, .first = first, .last = last}};
      std::vector<float> once;
      everywhere([&](OpContext& context, const std::string& name) {
        scores(context, {&job, 1});
        std::vector<float> lse, all(last - first, 0.5F), most(last - first, 0.0F);
        std::vector<double> sum(last - first, 0.5), highest(last - first, 0.0);
        for (uint32_t r = 0; r < kRows; ++r) {
          lse.push_back(log_sum_exp(job.exps, r));
          double total = 0;
          for (uint32_t s = first; s < last; ++s) total += std::exp(double{out.rows.row(r)[s]});
          EXPECT_NEAR(lse[r], std::log(total), 1e-5) << name << " " << slots;
          for (uint32_t s = first; s < last; ++s) {
            const double share = std::exp(double{out.rows.row(r)[s]}) / total;
            sum[s - first] += share;
            highest[s - first] = std::max(highest[s - first], share);
          }
        }
        const Rows part{out.rows.data + first, kRows, last - first, out.rows.stride};
        VoteJob votes{part, lse, all};
        add_votes(context, {&votes, 1}, Pooling::kSum);
        votes.votes = most;
        add_votes(context, {&votes, 1}, Pooling::kMax);
        for (uint32_t i = 0; i < last - first; ++i) {
          ASSERT_NEAR(all[i], sum[i], 1e-5) << name << " " << i;
          ASSERT_NEAR(most[i], highest[i], 1e-5) << name << " " << i;
        }
        all.insert(all.end(), most.begin(), most.end());
        if (once.empty()) once = all;
        EXPECT_EQ(all, once) << name;
      });
    }
  }
}

TEST(Scores, RowsWithoutScoresHaveNoVote) {
  float largest[2] = {kNone, kNone}, sums[2] = {0, 0};
  EXPECT_EQ(log_sum_exp({.largest = {largest, 1, 2, 2}, .sums = {sums, 1, 2, 2}}, 0), kNone);
  everywhere([&](OpContext& context, const std::string& name) {
    float x[2] = {kNone, kNone}, votes[2] = {1, 2};
    const float lse[1] = {kNone};
    const VoteJob job{{x, 1, 2, 2}, lse, votes};
    add_votes(context, {&job, 1}, Pooling::kSum);
    EXPECT_EQ(votes[0], 1.0F) << name;
    EXPECT_EQ(votes[1], 2.0F) << name;
  });
}

TEST(Scores, PagesLeftOutAreNotScored) {
  Random random(19);
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv4}) {
    std::vector<float> decoded;
    EncodedKeys keys = encode(random, codec, 32, 700, decoded);
    const Grid raw = filled(random, 2, 32, false);
    Grid q(2, 32, 0);
    prepare_queries(keys.layout, raw.rows, 1.0F, q.rows);
    const auto width = static_cast<uint32_t>(keys.pages.size()) * kPageSlots;
    Grid all(2, width), some(2, width);
    const std::vector<const std::byte*> pages(keys.pointers.begin(), keys.pointers.end());
    std::vector<const std::byte*> left = pages;
    for (const size_t page : {0u, 4u, 5u, 10u}) left[page] = nullptr;
    everywhere([&](OpContext& context, const std::string& name) {
      std::fill(some.numbers.begin(), some.numbers.end(), -77.0F);
      const ScoreJob jobs[2] = {{{&keys.layout, pages, nullptr, width}, q.rows, all.rows},
                                {{&keys.layout, left, nullptr, width}, q.rows, some.rows}};
      scores(context, jobs);
      for (uint32_t r = 0; r < 2; ++r) {
        for (uint32_t s = 0; s < width; ++s)
          ASSERT_EQ(some.rows.row(r)[s], left[s / kPageSlots] == nullptr ? -77.0F : all.rows.row(r)[s]) << name << s;
      }
    });
  }
}

// In tiles a score is within the rounding of both numbers to bfloat16, whatever queries stand beside it.
TEST(Scores, TilesAreNearTheDotProductsForAnyNumberOfQueries) {
  Random random(21);
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4}) {
    for (const uint32_t rows : {1u, 15u, 16u, 70u, 150u}) {
      constexpr uint32_t kDim = 80;
      std::vector<float> decoded;
      const uint32_t slots = 1 + random.below(900);
      const EncodedKeys keys = encode(random, codec, kDim, slots, decoded);
      const uint32_t padded = keys.layout.padded_dim, width = static_cast<uint32_t>(keys.pages.size()) * kPageSlots;
      const Grid raw = filled(random, rows, kDim, false);
      Grid q(rows, padded, 0);
      prepare_queries(keys.layout, raw.rows, 0.125F, q.rows);
      const Keys all{.layout = &keys.layout, .pages = keys.pointers, .tiles = nullptr, .count = slots};
      everywhere([&](OpContext& context, const std::string& name) {
        Grid out(rows, width), alone(1, width);
        const ScoreJob job{.keys = all, .queries = q.rows, .scores = out.rows, .products = Products::kTiles};
        scores(context, {&job, 1});
        for (uint32_t r = 0; r < rows; ++r) {
          for (uint32_t s = 0; s < slots; ++s) {
            double sum = 0, magnitude = 0;
            for (uint32_t i = 0; i < padded; ++i) {
              const double product = double{q.rows.row(r)[i]} * decoded[size_t{s} * padded + i];
              sum += product;
              magnitude += std::abs(product);
            }
            const float got = out.rows.row(r)[s];
            ASSERT_NEAR(got, sum, 0x1p-7 * magnitude) << name << " " << to_string(codec) << " slot " << s;
          }
        }
        const uint32_t r = rows / 2;
        const ScoreJob one{.keys = all,
                           .queries = {q.rows.row(r), 1, padded, padded},
                           .scores = alone.rows,
                           .products = Products::kTiles};
        scores(context, {&one, 1});
        for (uint32_t s = 0; s < slots; ++s) ASSERT_EQ(alone.rows.row(0)[s], out.rows.row(r)[s]) << name << " " << s;
      });
    }
  }
}

TEST(Scores, EstimatesAreScoresOfMeans) {
  Random random(17);
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4}) {
    std::vector<float> decoded;
    const uint32_t count = 64 * 70 + 13;
    const EncodedKeys keys = encode(random, codec, 64, count, decoded);
    const PageLayout& layout = keys.layout;
    const uint32_t blocks = static_cast<uint32_t>(keys.pages.size());
    const Grid raw = filled(random, 3, 64, false);
    Grid q(3, layout.padded_dim, 0), out(3, 128);
    prepare_queries(layout, raw.rows, 1.0F, q.rows);
    everywhere([&](OpContext& context, const std::string& name) {
      std::vector<float> scratch(size_t{layout.padded_dim} * kPageSlots), tiles(2 * scratch.size());
      for (uint32_t b = 0; b < blocks; ++b) {
        pool_keys(layout, keys.pointers[b], std::min(kPageSlots, count - b * kPageSlots), context.isa, scratch.data(),
                  tiles.data(), b);
      }
      const ScoreJob job{{&layout, {}, tiles.data(), blocks}, q.rows, out.rows};
      scores(context, std::span(&job, 1));
      for (uint32_t r = 0; r < 3; ++r) {
        for (uint32_t b = 0; b < blocks; ++b) {
          double sum = 0;
          const uint32_t last = std::min((b + 1) * kPageSlots, count);
          for (uint32_t s = b * kPageSlots; s < last; ++s) {
            for (uint32_t i = 0; i < layout.padded_dim; ++i) {
              sum += double{q.rows.row(r)[i]} * decoded[size_t{s} * layout.padded_dim + i];
            }
          }
          ASSERT_NEAR(out.rows.row(r)[b], sum / (last - b * kPageSlots), 2e-5) << name << " block " << b;
        }
      }
    });
  }
}

}  // namespace
}  // namespace loci
