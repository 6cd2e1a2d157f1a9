// Reads of selected pages and slots, of patterns with sinks, and of extra entries, against plain loops.
#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "attention/one_layer.h"
#include "attention/select/plain_select.h"
#include "base/half.h"
#include "cache/gather.h"
#include "kernels/cpu/kv_codec/hadamard.h"

namespace loci::test::selection {
namespace {

constexpr float kUnseen = -std::numeric_limits<float>::infinity();
constexpr uint32_t kQueryHeads = 4, kKvHeads = 2, kDim = 32, kGroup = 2, kTokens = 1500, kRows = 200;

class SelectedReads : public testing::TestWithParam<KvCodec> {
 protected:
  SelectedReads()
      : layer_(fmt::format("store={}", to_string(GetParam())), {.query_heads = kQueryHeads, .kv_heads = kKvHeads}) {
    x_ = layer_.random_rows(kTokens, 1, 1.0F);
    layer_.begin_prompt(kTokens);
    for (uint32_t first = 0; first < kTokens; first += 500) layer_.pass(x_, first, 500);
  }

  const Table& table() const { return layer_.cache().tables(LayerId(0))[0]; }

  // The last `rows` positions read through `selection`, by `threads` workers.
  std::vector<float> read(const Selection* selection, const Pattern& pattern, std::span<const ExtraEntry> extras,
                          uint32_t rows, ReadPhase phase, int threads, Isa isa = best_isa(), std::span<float> lse = {},
                          std::span<float> largest = {}) {
    ThreadPool pool(threads);
    const ModelShape& model = layer_.model();
    const WorkPlan plan = Executor::plan({.rows = rows,
                                          .reads = 1,
                                          .slots = kTokens,
                                          .query_heads = kQueryHeads,
                                          .kv_heads = kKvHeads,
                                          .head_dim = kDim,
                                          .precision = ReadPrecision::kFp32},
                                         threads);
    Workspace scratch = std::move(*Workspace::allocate(plan.scratch_bytes));
    OpContext ops{pool, isa, scratch};
    const uint32_t width = model.q_width(), first = kTokens - rows;
    std::vector<float> o(size_t{rows} * width);
    const Read one{.table = &table(),
                   .first_row = 0,
                   .rows = rows,
                   .first_position = TokenPos(first),
                   .slots = pattern,
                   .part = PartId(0),
                   .phase = phase,
                   .selection = selection,
                   .extras = extras};
    Executor executor;
    executor.run(ops, plan, std::span(&one, 1), {&x_.q[size_t{first} * width], rows, width, width}, model.score_scale,
                 {o.data(), rows, width, width}, lse, largest);
    return o;
  }

  std::vector<float> expected(uint32_t rows, const EntryWeight& weight) const {
    const std::vector<float> all = masked_attention(x_, layer_.model(), [&](uint32_t r, uint32_t h, uint32_t j) {
      return r < kTokens - rows ? (j == r ? 0.0F : kUnseen) : weight(r, h, j);
    });
    return {all.end() - static_cast<ptrdiff_t>(size_t{rows} * layer_.model().q_width()), all.end()};
  }

  double tolerance() const { return GetParam() == KvCodec::kKv16 ? 4e-3 : GetParam() == KvCodec::kKv8 ? 0.05 : 0.5; }

  OneLayer layer_;
  Rows3 x_;
};

// Pages and slots chosen at random for every tile and query head, in tiles of several sizes, read by several workers.
TEST_P(SelectedReads, EqualPlainLoops) {
  std::mt19937 random(2);
  for (const auto& [tile, parts, rows, phase] : {std::tuple{64u, 2u, kRows, ReadPhase::kPrompt},
                                                 {32u, 1u, kRows, ReadPhase::kPrompt},
                                                 {256u, 2u, kRows, ReadPhase::kPrompt},
                                                 {1u, 2u, 1u, ReadPhase::kDecode},
                                                 {1u, 1u, 1u, ReadPhase::kDecode}}) {
    const uint32_t first = kTokens - rows;
    Selection selection{.tile = tile, .parts = parts, .pages = {}, .slots = {}};
    const uint32_t tiles = selection.tiles(first, rows), count = kKvHeads * parts * tiles;
    const uint32_t pages = (kTokens + 63) / 64, oldest = first / tile * tile;
    std::vector<uint64_t> words(count * Masks::words_of(pages), 0);
    std::vector<uint32_t> elements(size_t{count} * 300), counts(count, 0);
    selection.pages = {.words = words.data(), .rows = count, .width = pages};
    selection.slots = {.elements = elements.data(), .counts = counts.data(), .rows = count, .capacity = 300};
    for (uint32_t row = 0; row < count; ++row) {
      for (uint32_t page = 0; page < pages; ++page) {
        if (random() % 3 == 0) selection.pages.row(row)[0] |= uint64_t{1} << page;
      }
      for (uint32_t slot = 0; slot < oldest && counts[row] < 300; ++slot) {
        const bool paged = (selection.pages.row(row)[0] >> (slot / 64) & 1) != 0;
        if (!paged && random() % 5 == 0) selection.slots.room(row)[counts[row]++] = slot;
      }
    }
    const auto row_of = [&](uint32_t position, uint32_t head) {
      return selection.row(head / kGroup, head % kGroup * parts / kGroup, position / tile - first / tile, tiles);
    };
    const std::vector<float> plain = expected(rows, [&](uint32_t r, uint32_t h, uint32_t j) {
      const size_t row = row_of(r, h);
      if ((selection.pages.row(row)[0] >> (j / 64) & 1) != 0) return 0.0F;
      const std::span<const uint32_t> slots = std::as_const(selection.slots).row(row);
      return std::binary_search(slots.begin(), slots.end(), j) ? 0.0F : kUnseen;
    });
    const std::vector<float> one = read(&selection, {}, {}, rows, phase, 1);
    EXPECT_LT(largest_difference(one, plain), tolerance()) << "tile " << tile << ", parts " << parts;
    for (const int threads : {2, 3, 5}) EXPECT_EQ(read(&selection, {}, {}, rows, phase, threads), one) << threads;
  }
}

// Pages, copies and slots whose scores a method knows: keys are not looked at, so the scores here are not theirs. The
// lists go over several items, so workers begin inside of them.
TEST_P(SelectedReads, KnownScoresTakeThePlaceOfKeys) {
  std::mt19937 random(4);
  const ModelShape& model = layer_.model();
  const uint32_t pages = (kTokens + 63) / 64, last = kTokens - 1;
  std::vector<uint64_t> words(kKvHeads, 0b1000'0000'0000'0000'0010'0001);
  std::vector<uint32_t> elements, counts;
  for (uint32_t h = 0; h < kKvHeads; ++h) {
    const size_t before = elements.size();
    for (uint32_t slot = 64; slot < 23 * 64; ++slot) {
      const bool elsewhere = slot / 64 == 5 || (slot >= 400 && slot < 500);
      if (!elsewhere && random() % 8 != 0) elements.push_back(slot);
    }
    counts.push_back(static_cast<uint32_t>(elements.size() - before));
    ASSERT_GT(counts.back(), 2 * kItemBlocks * 64);
    elements.resize(before + kTokens);
  }
  // 100 entries from slot 400 on, copied.
  std::vector<std::vector<std::byte>> copied;
  std::vector<const std::byte*> copies;
  std::vector<uint32_t> copy_counts(kKvHeads, 100), copied_slots(100);
  std::iota(copied_slots.begin(), copied_slots.end(), 400u);
  std::vector<const uint32_t*> copy_positions(kKvHeads, copied_slots.data());
  for (uint32_t h = 0; h < kKvHeads; ++h) {
    copied.emplace_back(2 * table().layout().bytes);
    gather_entries(table(), h, copied_slots, copied.back().data(), 0);
    copies.push_back(copied.back().data());
  }
  const uint32_t width = pages * 64;
  std::vector<float> scores(kQueryHeads * width), biases(kQueryHeads * width), of_copies(kQueryHeads * 128, 0.0F);
  std::normal_distribution<float> normal;
  for (float& bias : biases) bias = normal(random);
  for (uint32_t h = 0; h < kQueryHeads; ++h) {
    for (uint32_t j = 0; j < kTokens; ++j) {
      scores[h * width + j] = plain_score(x_, model, last, h, j) + biases[h * width + j] / model.score_scale;
    }
    for (uint32_t i = 0; i < 100; ++i) of_copies[h * 128 + i] = scores[h * width + 400 + i] * model.score_scale;
  }
  Selection selection{
      .tile = 1,
      .parts = 1,
      .pages = {.words = words.data(), .rows = kKvHeads, .width = pages},
      .slots = {.elements = elements.data(), .counts = counts.data(), .rows = kKvHeads, .capacity = kTokens},
      .slot_tile = 0,
      .copies = {.pages = copies.data(),
                 .counts = copy_counts.data(),
                 .positions = copy_positions.data(),
                 .scores = {of_copies.data(), kQueryHeads, 128, 128}},
      .scores = {scores.data(), kQueryHeads, width, width}};
  const std::vector<float> plain = expected(1, [&](uint32_t, uint32_t h, uint32_t j) {
    const float bias = biases[h * width + j];
    if ((words[0] >> (j / 64) & 1) != 0 || (j >= 400 && j < 500)) return bias;
    const std::span<const uint32_t> slots = std::as_const(selection.slots).row(h / kGroup);
    return std::binary_search(slots.begin(), slots.end(), j) ? bias : kUnseen;
  });
  const std::vector<float> one = read(&selection, {}, {}, 1, ReadPhase::kDecode, 1);
  EXPECT_LT(largest_difference(one, plain), tolerance());
  for (const int threads : {2, 3, 5}) EXPECT_EQ(read(&selection, {}, {}, 1, ReadPhase::kDecode, threads), one);
  for (const Isa isa : supported_isas()) {
    EXPECT_LT(largest_difference(read(&selection, {}, {}, 1, ReadPhase::kDecode, 2, isa), one), 1e-5) << to_string(isa);
  }
}

TEST_P(SelectedReads, EmptySelectionsGiveZero) {
  uint32_t counts[kKvHeads] = {}, elements[kKvHeads] = {};
  const Selection nothing{
      .tile = 1, .parts = 1, .pages = {}, .slots = {.elements = elements, .counts = counts, .rows = 2, .capacity = 1}};
  const std::vector<float> o = read(&nothing, {}, {}, 1, ReadPhase::kDecode, 2);
  for (const float value : o) EXPECT_EQ(value, 0.0F);
}

// Pages read in two parts, the second of which folds what the first has given: what one read gives, to rounding.
TEST_P(SelectedReads, WhatWasReadBeforeIsPartOfTheResult) {
  const uint32_t width = layer_.model().q_width(), pages = (kTokens + 63) / 64, first = kTokens - kRows;
  constexpr uint32_t kTile = 64;
  const uint32_t count = kKvHeads * Selection{.tile = kTile, .parts = 1, .pages = {}, .slots = {}}.tiles(first, kRows);
  const auto select = [&](std::vector<uint64_t>& words, uint64_t which) {
    words.assign(count, which);
    return Selection{
        .tile = kTile, .parts = 1, .pages = {.words = words.data(), .rows = count, .width = pages}, .slots = {}};
  };
  std::vector<uint64_t> all_words, front_words, back_words;
  const uint64_t front_pages = 0b101'0111, every = (uint64_t{1} << pages) - 1;
  const Selection all = select(all_words, every), front = select(front_words, front_pages);
  Selection back = select(back_words, every & ~front_pages);
  std::vector<float> lse(size_t{kRows} * kQueryHeads), before(lse.size()), largest(lse.size()), lse_of_all(lse.size());
  const std::vector<float> expected = read(&all, {}, {}, kRows, ReadPhase::kPrompt, 2, best_isa(), lse_of_all);
  std::vector<float> o = read(&front, {}, {}, kRows, ReadPhase::kPrompt, 2, best_isa(), before, largest);
  back.prior = {.o = {o.data(), kRows, width, width}, .lse = before};
  EXPECT_LT(largest_difference(read(&back, {}, {}, kRows, ReadPhase::kPrompt, 2, best_isa(), lse), expected), 1e-5);
  EXPECT_LT(largest_difference(lse, lse_of_all), 1e-5);
  const std::vector<float> one = read(&back, {}, {}, kRows, ReadPhase::kPrompt, 1);
  for (const int threads : {2, 3, 5}) EXPECT_EQ(read(&back, {}, {}, kRows, ReadPhase::kPrompt, threads), one);
  if (GetParam() == KvCodec::kKv16) {
    for (uint32_t r = 0; r < kRows; r += 37) {
      for (uint32_t h = 0; h < kQueryHeads; ++h) {
        double most = kUnseen;
        for (uint32_t j = 0; j < kTokens; ++j) {
          if ((front_pages >> (j / 64) & 1) == 0) continue;
          double score = 0;
          for (uint32_t d = 0; d < kDim; ++d)
            score += double{x_.q[size_t{first + r} * width + h * kDim + d]} *
                     to_float(to_half(x_.k[(size_t{j} * kKvHeads + h / kGroup) * kDim + d]));
          most = std::max(most, score * layer_.model().score_scale);
        }
        EXPECT_NEAR(largest[size_t{r} * kQueryHeads + h], most, 1e-4) << r << " " << h;
      }
    }
  }
  // Who has read nothing before adds nothing, not even a rounding.
  back.prior = {};
  const std::vector<float> alone = read(&back, {}, {}, kRows, ReadPhase::kPrompt, 2);
  std::fill(before.begin(), before.end(), kUnseen);
  std::fill(o.begin(), o.end(), 1e30F);
  back.prior = {.o = {o.data(), kRows, width, width}, .lse = before};
  EXPECT_EQ(read(&back, {}, {}, kRows, ReadPhase::kPrompt, 2), alone);
}

TEST_P(SelectedReads, PatternsWithSinksAndFloors) {
  for (const Pattern& pattern : {Pattern{.sinks = 4, .window = 100}, Pattern{.sinks = 130, .window = 64, .granule = 64},
                                 Pattern{.sinks = 70, .floor = 900}, Pattern{.window = 1}, Pattern{.floor = 1333}}) {
    const auto sees = [&](uint32_t r, uint32_t, uint32_t j) {
      return j < pattern.sinks || j >= pattern.oldest(r) ? 0.0F : kUnseen;
    };
    const std::vector<float> one = read(nullptr, pattern, {}, kRows, ReadPhase::kPrompt, 1);
    EXPECT_LT(largest_difference(one, expected(kRows, sees)), tolerance());
    for (const int threads : {2, 5}) EXPECT_EQ(read(nullptr, pattern, {}, kRows, ReadPhase::kPrompt, threads), one);
    const std::vector<float> step = read(nullptr, pattern, {}, 1, ReadPhase::kDecode, 3);
    EXPECT_LT(largest_difference(step, expected(1, sees)), tolerance());
  }
}

// An extra entry that stands for entries left out: their common key, their mean value, the log of their number.
TEST_P(SelectedReads, AnExtraEntryStandsForEqualKeys) {
  constexpr uint32_t kLeftOut = 1000;
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 1);
  std::vector<std::vector<float>> keys, values;
  for (uint32_t h = 0; h < kKvHeads; ++h) {
    std::vector<float> key(kDim), value(kDim, 0.0F);
    for (float& k : key) k = normal(random);
    for (uint32_t j = 4; j < 4 + kLeftOut; ++j) {
      for (uint32_t d = 0; d < kDim; ++d) {
        const size_t at = (size_t{j} * kKvHeads + h) * kDim + d;
        x_.k[at] = key[d];
        value[d] += x_.v[at] / kLeftOut;
      }
    }
    keys.push_back(key);
    values.push_back(value);
  }
  std::vector<ExtraEntry> extras;
  for (uint32_t h = 0; h < kKvHeads; ++h)
    extras.push_back({keys[h].data(), values[h].data(), std::log(static_cast<float>(kLeftOut))});
  const Pattern rest{.sinks = 4, .floor = 4 + kLeftOut};
  const std::vector<float> o = read(nullptr, rest, extras, 1, ReadPhase::kDecode, 2);
  EXPECT_LT(largest_difference(o, expected(1, [](uint32_t, uint32_t, uint32_t) { return 0.0F; })), tolerance());
}

INSTANTIATE_TEST_SUITE_P(Codecs, SelectedReads, testing::Values(KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4),
                         [](const auto& of) { return std::string(to_string(of.param)); });

TEST(Patterns, OfTwoMethodsCoverBoth) {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    const auto draw = [&] {
      return Pattern{.sinks = static_cast<uint32_t>(random() % 50),
                     .window = static_cast<uint32_t>(random() % 3 == 0 ? 0 : 1 + random() % 200),
                     .granule = random() % 2 == 0 ? 1u : 64u,
                     .floor = static_cast<uint32_t>(random() % 2 == 0 ? 0 : random() % 300)};
    };
    const Pattern a = draw(), b = draw(), both = cover(a, b);
    for (uint32_t position = 0; position < 400; position += 13) {
      uint32_t seen = 0;
      for (uint32_t j = 0; j <= position; ++j) {
        const auto in = [&](const Pattern& p) { return j < p.sinks || j >= p.oldest(position); };
        if (in(a) || in(b)) {
          ASSERT_TRUE(in(both)) << position << " reads " << j;
        }
        seen += in(a);
      }
      ASSERT_EQ(a.count(position), seen);
    }
  }
}

}  // namespace
}  // namespace loci::test::selection
