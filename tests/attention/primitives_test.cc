// The selection primitives against the plainest code that says the same, on random shapes, on every instruction set,
// alone and with several workers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "attention/primitive_arrays.h"
#include "attention/primitives/pool.h"
#include "attention/primitives/scores.h"
#include "attention/primitives/sets.h"
#include "attention/primitives/softmax.h"
#include "attention/primitives/top.h"
#include "attention/primitives/votes.h"

namespace loci {
namespace {

using namespace primitive_arrays;

constexpr uint32_t kWidths[] = {1, 2, 15, 63, 64, 65, 200, 1000, 4095, 4096, 5000};

std::vector<uint32_t> by_rank(const std::vector<float>& x) {
  std::vector<uint32_t> order(x.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const bool a_nan = x[a] != x[a], b_nan = x[b] != x[b];
    return a_nan || b_nan ? b_nan && !a_nan : x[a] > x[b];
  });
  return order;
}

TEST(TopK, TakesTheLargestAndTheLowerOfEquals) {
  Random random(11);
  for (const uint32_t width : kWidths) {
    for (const bool crowded : {false, true}) {
      Grid x = filled(random, 4, width, crowded);
      if (width > 20) {
        x.rows.row(1)[3] = std::nanf("");
        x.rows.row(1)[5] = kNone;
        x.rows.row(1)[7] = -0.0F;
        x.rows.row(1)[9] = 0.0F;
      }
      const std::vector<uint32_t> lengths = random_lengths(random, 4, width);
      for (const uint32_t k : {0u, 1u, 2u, width / 3, width - 1, width, width + 5}) {
        std::vector<std::vector<uint32_t>> expected;
        for (size_t r = 0; r < 4; ++r) {
          std::vector<float> row = x.row(r);
          row.resize(lengths[r]);
          std::vector<uint32_t> best = by_rank(row);
          best.resize(std::min<size_t>(k, best.size()));
          std::sort(best.begin(), best.end());
          expected.push_back(std::move(best));
        }
        everywhere([&](OpContext& context, const std::string& name) {
          ListArray lists(4, std::min(k, width));
          top_k(context, x.rows, k, lists.lists, lengths);
          std::vector<Cut> cuts(4);
          find_top_k(context, x.rows, k, cuts, lengths);
          MaskArray masks(4, width);
          mark(context, x.rows, cuts, masks.masks, lengths);
          for (size_t r = 0; r < 4; ++r) {
            ASSERT_EQ(lists.row(r), expected[r]) << name << " width " << width << " k " << k << " row " << r;
            ASSERT_EQ(masks.row(r), expected[r]) << name;
            EXPECT_EQ(cuts[r].count, expected[r].size());
          }
          EXPECT_EQ(lists.elements.back(), 99u) << "written beyond the lists";
        });
      }
    }
  }
}

TEST(TopP, TakesTheFewestThatCarryTheShare) {
  Random random(12);
  for (const uint32_t width : kWidths) {
    for (const bool crowded : {false, true}) {
      Grid x(3, width);
      for (uint32_t r = 0; r < 3; ++r) {
        // Multiples of 2^-20 below 1: sums are exact in double, and in fixed point.
        for (float& v : x.rows.span(r)) {
          v = crowded ? static_cast<float>(random.below(5)) * 0.25F
                      : std::ldexp(static_cast<float>(random.below(1u << 20)), -20);
        }
        x.rows.row(r)[random.below(width)] = 1.0F;
      }
      for (const double p : {-1.0, 0.0, 0.1, 0.5, 0.9, 0.999, 1.0, 2.0}) {
        std::vector<std::vector<uint32_t>> expected;
        for (size_t r = 0; r < 3; ++r) {
          const std::vector<float> row = x.row(r);
          const double total = std::accumulate(row.begin(), row.end(), 0.0);
          std::vector<uint32_t> best = by_rank(row);
          double mass = 0;
          size_t count = 0;
          while (count < best.size() && (count == 0 || mass < p * total || p >= 1)) mass += row[best[count++]];
          best.resize(count);
          std::sort(best.begin(), best.end());
          expected.push_back(std::move(best));
        }
        everywhere([&](OpContext& context, const std::string& name) {
          ListArray lists(3, width);
          top_p(context, x.rows, p, lists.lists);
          for (size_t r = 0; r < 3; ++r) {
            ASSERT_EQ(lists.row(r), expected[r]) << name << " width " << width << " p " << p;
          }
          std::vector<Cut> cuts(3);
          find_top_p(context, x.rows, p, cuts);
          ListArray collected(3, width);
          collect(context, x.rows, cuts, collected.lists);
          EXPECT_EQ(collected.counts, lists.counts);
        });
      }
    }
  }
}

TEST(TopP, WeightlessRowsGiveOneElement) {
  Grid x(2, 5);
  for (float& v : x.rows.span(0)) v = 0;
  for (float& v : x.rows.span(1)) v = -1;
  x.rows.row(1)[3] = -0.5F;
  everywhere([&](OpContext& context, const std::string&) {
    ListArray lists(2, 5);
    top_p(context, x.rows, 0.5, lists.lists);
    EXPECT_EQ(lists.row(0), std::vector<uint32_t>{0});
    EXPECT_EQ(lists.row(1), std::vector<uint32_t>{3});
    const std::vector<uint32_t> none = {0, 0};
    top_p(context, x.rows, 0.5, lists.lists, none);
    EXPECT_TRUE(lists.row(0).empty());
  });
}

TEST(Softmax, MatchesDoublePrecisionAndIsTheSameEverywhere) {
  Random random(13);
  for (const uint32_t width : kWidths) {
    const Grid x = filled(random, 5, width, false);
    std::vector<uint32_t> lengths = random_lengths(random, 5, width);
    lengths[1] = width;
    std::vector<float> first;
    everywhere([&](OpContext& context, const std::string& name) {
      Grid out = x;
      out.rows.data = out.numbers.data();
      std::vector<float> lse(5);
      softmax(context, out.rows, lengths, lse);
      for (size_t r = 0; r < 5; ++r) {
        double total = 0;
        for (uint32_t i = 0; i < lengths[r]; ++i) total += std::exp(double{x.rows.row(r)[i]});
        for (uint32_t i = 0; i < width; ++i) {
          const double expected = i < lengths[r] ? std::exp(double{x.rows.row(r)[i]}) / total : 0;
          ASSERT_NEAR(out.rows.row(r)[i], expected, 5e-6 * expected) << name << " " << width;
        }
        if (lengths[r] > 0) {
          EXPECT_NEAR(lse[r], std::log(total), 1e-5);
        } else {
          EXPECT_EQ(lse[r], kNone);
        }
        EXPECT_EQ(out.numbers[r * out.rows.stride + width], -77.0F) << "written beyond the row";
      }
      if (first.empty()) first = out.numbers;
      EXPECT_EQ(out.numbers, first) << name;
    });
  }
}

TEST(Softmax, RowsOfMinusInfinityBecomeZero) {
  everywhere([&](OpContext& context, const std::string&) {
    Grid x(1, 40);
    for (float& v : x.rows.span(0)) v = kNone;
    std::vector<float> lse(1);
    softmax(context, x.rows, {}, lse);
    for (const float v : x.row(0)) EXPECT_EQ(v, 0.0F);
    EXPECT_EQ(lse[0], kNone);
  });
}

TEST(Pool, OverNeighbours) {
  Random random(14);
  for (const uint32_t n : {1u, 2u, 5u, 16u, 33u, 200u, 1000u}) {
    const Grid x = filled(random, 3, n, false);
    const std::vector<uint32_t> lengths = {n, n / 2, random.below(n + 1)};
    for (const uint32_t width : {1u, 3u, 7u, 31u}) {
      everywhere([&](OpContext& context, const std::string& name) {
        Grid mean(3, n), most(3, n);
        pool_window(context, x.rows, width, Pooling::kMean, mean.rows, lengths);
        pool_window(context, x.rows, width, Pooling::kMax, most.rows, lengths);
        for (size_t r = 0; r < 3; ++r) {
          for (int64_t i = 0; i < n; ++i) {
            double sum = 0;
            float best = i < lengths[r] ? kNone : 0.0F;
            for (int64_t j = i - width / 2; i < lengths[r] && j <= i + width / 2; ++j) {
              if (j < 0 || j >= lengths[r]) continue;
              sum += x.rows.row(r)[j];
              best = std::max(best, x.rows.row(r)[j]);
            }
            ASSERT_NEAR(mean.rows.row(r)[i], sum / width, 1e-5) << name << " n " << n << " width " << width;
            ASSERT_EQ(most.rows.row(r)[i], best) << name << " n " << n << " width " << width << " at " << i;
          }
        }
      });
    }
  }
}

TEST(Pool, OverTheRowsOfAGroupAndOverBlocks) {
  Random random(15);
  for (int round = 0; round < 20; ++round) {
    const uint32_t group = 1 + random.below(5), rows = 1 + random.below(3), n = 1 + random.below(300);
    const uint32_t block = 1 + random.below(80), blocks = (n + block - 1) / block;
    const Grid x = filled(random, rows * group, n, false);
    const std::vector<uint32_t> lengths = random_lengths(random, rows * group, n);
    everywhere([&](OpContext& context, const std::string& name) {
      for (const Pooling pooling : {Pooling::kSum, Pooling::kMean, Pooling::kMax}) {
        const auto pooled = [&](double sum, double best, uint32_t count) {
          return pooling == Pooling::kMax ? best : (pooling == Pooling::kMean ? sum / count : sum);
        };
        Grid heads(rows, n), parts(rows * group, blocks + 2);
        pool_rows(context, x.rows, group, pooling, heads.rows, std::span(lengths).first(rows));
        for (size_t r = 0; r < rows; ++r) {
          for (uint32_t i = 0; i < n; ++i) {
            double sum = 0, best = kNone;
            for (uint32_t g = 0; g < group; ++g) {
              sum += x.rows.row(r * group + g)[i];
              best = std::max<double>(best, x.rows.row(r * group + g)[i]);
            }
            ASSERT_NEAR(heads.rows.row(r)[i], i < lengths[r] ? pooled(sum, best, group) : 0, 1e-5) << name;
          }
        }
        pool_blocks(context, x.rows, block, pooling, parts.rows, lengths);
        for (size_t r = 0; r < rows * group; ++r) {
          for (uint32_t b = 0; b < blocks + 2; ++b) {
            double sum = 0, best = kNone;
            uint32_t count = 0;
            for (uint32_t i = b * block; i < std::min((b + 1) * block, lengths[r]); ++i, ++count) {
              sum += x.rows.row(r)[i];
              best = std::max<double>(best, x.rows.row(r)[i]);
            }
            ASSERT_NEAR(parts.rows.row(r)[b], count == 0 ? 0 : pooled(sum, best, count), 1e-5) << name;
          }
        }
      }
    });
  }
}

std::vector<uint32_t> random_set(Random& random, uint32_t width, uint32_t most) {
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < width && out.size() < most; ++i) {
    if (random.below(3) == 0) out.push_back(i);
  }
  return out;
}

void put(const std::vector<uint32_t>& set, ListArray& lists, size_t r) {
  std::copy(set.begin(), set.end(), lists.lists.room(r).begin());
  lists.counts[r] = static_cast<uint32_t>(set.size());
}

TEST(Sets, MasksListsWindowsBlocksAndUnions) {
  Random random(18);
  for (int round = 0; round < 300; ++round) {
    const uint32_t width = 1 + random.below(300), block = 1 + random.below(70), blocks = (width + block - 1) / block;
    const std::vector<uint32_t> a = random_set(random, width, width), b = random_set(random, width, width);
    const uint32_t length = random.below(width + 1), first = random.below(40), last = random.below(400);
    const std::vector<uint32_t> lengths = {length, width};
    ListArray la(2, width), lb(2, width), both(2, width), back(2, width);
    put(a, la, 0);
    put(b, la, 1);
    put(b, lb, 0);
    put({}, lb, 1);

    MaskArray masks(2, width), from(2, width), one(1, width);
    mark_lists(la.lists, masks.masks);
    EXPECT_EQ(masks.row(0), a);
    list_elements(masks.masks, back.lists);
    EXPECT_EQ(back.row(0), a);
    EXPECT_EQ(back.row(1), b);

    std::vector<uint32_t> expected;
    std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(expected));
    unite(la.lists, lb.lists, both.lists, width);
    EXPECT_EQ(both.row(0), expected);
    EXPECT_EQ(both.row(1), b);
    unite_rows(masks.masks, 2, one.masks);
    EXPECT_EQ(one.row(0), expected);
    mark_lists(lb.lists, from.masks);
    unite(masks.masks, from.masks);
    EXPECT_EQ(masks.row(0), expected);
    EXPECT_EQ(masks.row(1), b);
    subtract(masks.masks, from.masks);
    expected.clear();
    std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(expected));
    EXPECT_EQ(masks.row(0), expected);

    clear(masks.masks);
    mark_window(masks.masks, first, last, lengths);
    expected.clear();
    for (uint32_t i = 0; i < length; ++i) {
      if (i < first || i + last >= length) expected.push_back(i);
    }
    EXPECT_EQ(masks.row(0), expected) << "window of " << first << " and " << last << " of " << length;
    clear(masks.masks);
    mark_range(masks.masks, first, last, lengths);
    expected.clear();
    for (uint32_t i = first; i < std::min(last, length); ++i) expected.push_back(i);
    EXPECT_EQ(masks.row(0), expected);

    MaskArray block_masks(1, blocks), marked(1, width);
    ListArray block_list(1, blocks), expanded(1, width);
    clear(one.masks);
    put(a, la, 0);
    mark_lists({la.elements.data(), la.counts.data(), 1, width}, one.masks);
    blocks_of(one.masks, block, block_masks.masks);
    std::vector<uint32_t> expected_blocks;
    for (const uint32_t e : a) {
      if (expected_blocks.empty() || expected_blocks.back() != e / block) expected_blocks.push_back(e / block);
    }
    EXPECT_EQ(block_masks.row(0), expected_blocks);
    list_elements(block_masks.masks, block_list.lists);
    elements_of(block_list.lists, block, width, expanded.lists, std::span(lengths).first(1));
    expected.clear();
    for (const uint32_t e : expected_blocks) {
      for (uint32_t i = e * block; i < std::min((e + 1) * block, length); ++i) expected.push_back(i);
    }
    EXPECT_EQ(expanded.row(0), expected);
  }
}

TEST(Sets, ThresholdsPerRowAndForAll) {
  Random random(19);
  for (const uint32_t width : kWidths) {
    const Grid x = filled(random, 3, width, true);
    const std::vector<uint32_t> lengths = random_lengths(random, 3, width);
    const std::vector<float> thresholds = {0.5F, 1.25F, -1.0F};
    everywhere([&](OpContext& context, const std::string& name) {
      for (const size_t count : {size_t{1}, size_t{3}}) {
        MaskArray masks(3, width);
        std::fill(masks.words.begin(), masks.words.end(), ~uint64_t{0});
        mark_at_least(context, x.rows, std::span(thresholds).first(count), masks.masks, lengths);
        for (size_t r = 0; r < 3; ++r) {
          std::vector<uint32_t> expected;
          for (uint32_t i = 0; i < lengths[r]; ++i) {
            if (x.rows.row(r)[i] >= thresholds[count == 1 ? 0 : r]) expected.push_back(i);
          }
          ASSERT_EQ(masks.row(r), expected) << name << " " << width;
        }
      }
    });
  }
}

TEST(Sets, GathersElementsAndRows) {
  Random random(20);
  for (int round = 0; round < 50; ++round) {
    const uint32_t width = 1 + random.below(100), capacity = 1 + random.below(width);
    const Grid x = filled(random, 2, width, false), entries = filled(random, width, 5, false);
    ListArray lists(2, capacity);
    for (size_t r = 0; r < 2; ++r) put(random_set(random, width, capacity), lists, r);
    Grid out(2, capacity), rows(capacity, 5);
    gather(x.rows, lists.lists, out.rows);
    gather_rows(entries.rows, lists.lists, 1, rows.rows);
    for (size_t r = 0; r < 2; ++r) {
      for (uint32_t i = 0; i < capacity; ++i) {
        EXPECT_EQ(out.rows.row(r)[i], i < lists.counts[r] ? x.rows.row(r)[lists.row(r)[i]] : -77.0F);
      }
    }
    for (uint32_t i = 0; i < lists.counts[1]; ++i) EXPECT_EQ(rows.row(i), entries.row(lists.row(1)[i]));
  }
}

TEST(Sets, HistogramCountsEveryElementOnce) {
  Random random(21);
  for (const uint32_t width : kWidths) {
    Grid x = filled(random, 2, width, false);
    const std::vector<uint32_t> lengths = {width, random.below(width + 1)};
    x.rows.row(0)[0] = std::nanf("");
    everywhere([&](OpContext& context, const std::string& name) {
      const uint32_t bins = 9;
      std::vector<uint32_t> counts(2 * bins, 5);
      histogram(context, x.rows, -1.5F, 1.5F, bins, counts, lengths);
      std::vector<uint32_t> expected(2 * bins, 0);
      for (size_t r = 0; r < 2; ++r) {
        for (uint32_t i = 0; i < lengths[r]; ++i) {
          const float v = x.rows.row(r)[i];
          if (v == v) ++expected[r * bins + static_cast<uint32_t>(std::clamp((v + 1.5F) * 3.0F, 0.0F, 8.0F))];
        }
      }
      EXPECT_EQ(counts, expected) << name << " " << width;
    });
  }
}

TEST(Sets, CapacitiesAreAsserted) {
  MaskArray masks(1, 100);
  ListArray lists(1, 99);
  EXPECT_DEATH(list_elements(masks.masks, lists.lists), "room for every element");
}

}  // namespace
}  // namespace loci
