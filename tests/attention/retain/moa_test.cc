#include <gmock/gmock.h>

#include <limits>

#include "attention/one_layer.h"

namespace loci::test::moa {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

// Rules of one layer, a head each.
Profile rules(std::vector<double> alpha, std::vector<double> beta) {
  Profile out;
  out.kind = "moa";
  out.layers = 1;
  out.heads = static_cast<uint32_t>(alpha.size());
  out.values["alpha"] = std::move(alpha);
  out.values["beta"] = std::move(beta);
  return out;
}

const OneLayerShape kFourHeads = {.query_heads = 4, .kv_heads = 4};

// The card: block b of the prompt reads block 0 and the span's others up to b; an answer reads entries.
EntryWeight mask(std::vector<uint32_t> spans, uint32_t prompt) {
  return [=](uint32_t r, uint32_t h, uint32_t j) {
    const uint32_t ring = spans[h] - 64;
    if (j < 64) return 0.0F;
    if (r < prompt) return j / 64 + ring / 64 > r / 64 ? 0.0F : kUnseen;
    return r - j < ring ? 0.0F : kUnseen;
  };
}

TEST(Moa, SpansGrowByTheirRules) {
  constexpr uint32_t kPrompt = 1000, kTotal = 1040;
  OneLayer layer("moa", kFourHeads, rules({0, 0, 200, -300}, {0, 0.25, 0, 1}));
  const Rows3 x = layer.random_rows(kTotal, 1);
  const auto feed = [&](uint32_t chunk) {
    layer.clear();
    layer.begin_prompt(kPrompt, kTotal);
    std::vector<float> all;
    for (uint32_t first = 0; first < kTotal;) {
      const uint32_t rows = first < kPrompt ? std::min(chunk, kPrompt - first) : 1;
      const std::vector<float> o = layer.pass(x, first, rows);
      all.insert(all.end(), o.begin(), o.end());
      first += rows;
    }
    return all;
  };
  // 0 becomes two blocks; 260 five; 200 four; 740 twelve.
  const std::vector<float> expected = masked_attention(x, layer.model(), mask({128, 320, 256, 768}, kPrompt));
  const std::vector<float> whole = feed(kPrompt);
  EXPECT_LT(largest_difference(whole, expected), 4e-3);  // entries are halves
  EXPECT_EQ(feed(64), whole);
  EXPECT_EQ(feed(37), whole);
  EXPECT_EQ(layer.pool().counters().bytes_in_use, layer.cache().kv_bytes());
}

TEST(Moa, TheFirstAnswerRowSeesTheWholeRing) {
  // A prompt of whole blocks: the window in blocks would have moved on by one for the next row.
  constexpr uint32_t kPrompt = 512, kTotal = 640;
  OneLayer layer("moa", kFourHeads, rules({128, 128, 128, 128}, {0, 0, 0, 0}));
  const Rows3 x = layer.random_rows(kPrompt + 3, 2);
  layer.begin_prompt(kPrompt, kTotal);
  std::vector<float> all = layer.pass(x, 0, kPrompt);
  for (uint32_t r = kPrompt; r < kPrompt + 3; ++r) {
    const std::vector<float> o = layer.pass(x, r, 1);
    all.insert(all.end(), o.begin(), o.end());
  }
  EXPECT_LT(largest_difference(all, masked_attention(x, layer.model(), mask({128, 128, 128, 128}, kPrompt))), 4e-3);
}

TEST(Moa, QuantizedEntriesUnderTheSameMask) {
  constexpr uint32_t kPrompt = 700;
  OneLayer layer("moa; store=kv4", kFourHeads, rules({200, 200, 200, 200}, {0, 0, 0, 0})),
      dense("store=kv4", kFourHeads);
  const Rows3 x = layer.random_rows(720, 3);
  const double coded = largest_difference(dense.feed(x, kPrompt, kPrompt),
                                          masked_attention(x, dense.model(), [](auto...) { return 0.0F; }));
  const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
  EXPECT_LT(largest_difference(whole, masked_attention(x, layer.model(), mask({256, 256, 256, 256}, kPrompt))),
            1.5 * coded);
  layer.clear();
  EXPECT_EQ(layer.feed(x, kPrompt, 50), whole);
}

TEST(Moa, ARuleThatHoldsEverythingIsTheDenseRead) {
  OneLayer whole("moa", kFourHeads, rules({0, 5000, 4000, 0}, {1, 0, 0.5, 1})), dense("dense", kFourHeads);
  const Rows3 x = dense.random_rows(300, 4);
  EXPECT_EQ(whole.feed(x, 280, 100), dense.feed(x, 280, 100));
}

TEST(Moa, HeadsOfOneRuleShareATable) {
  OneLayer layer("moa", kFourHeads, rules({0, 64, 0, 64}, {0.5, 0, 0.5, 0}));
  EXPECT_THAT(layer.stages().classes(LayerId(0)),
              ElementsAre(ElementsAre(KvHead(0), KvHead(2)), ElementsAre(KvHead(1), KvHead(3))));
}

TEST(Moa, RefusesRulesBeyondReason) {
  for (const Profile& wrong : {rules({0, 0}, {0, 1.5}), rules({0, 0}, {-0.1, 1}), rules({1e30, 0}, {0, 0})}) {
    const ModelShape model{.layers = 1,
                           .query_heads = 4,
                           .kv_heads = 2,
                           .head_dim = 32,
                           .score_scale = 1,
                           .windows = {0},
                           .fingerprint = "one layer"};
    const MethodContext context{.model = model, .context = 4096, .profile = [&](std::string_view, const std::string&) {
                                  return Result<Profile>(wrong);
                                }};
    const auto stages = Stages::make(*AttentionPlan::parse("moa"), model, context);
    ASSERT_FALSE(stages.ok());
    EXPECT_THAT(stages.error().message, HasSubstr("make the profile anew"));
  }
}

}  // namespace
}  // namespace loci::test::moa
