#include <gmock/gmock.h>

#include <limits>

#include "attention/one_layer.h"

namespace loci::test::duo {
namespace {

using ::testing::HasSubstr;

constexpr float kUnseen = -std::numeric_limits<float>::infinity();

Profile gates(std::vector<double> values) {
  Profile out;
  out.kind = "duo";
  out.layers = 1;
  out.heads = static_cast<uint32_t>(values.size());
  out.values["gate"] = std::move(values);
  return out;
}

// KV head 1 of 2 keeps everything.
OneLayer half(const std::string& options, OneLayerShape shape = {}) {
  return OneLayer("retain=duo(ratio=0.5," + options, shape, gates({0.2, 0.9}));
}

// The explicit mask of the card: sinks, and `window` entries before the row's chunk.
EntryWeight mask(uint32_t sinks, uint32_t window, uint32_t chunk, uint32_t prompt, bool dense_prefill) {
  return [=](uint32_t r, uint32_t query_head, uint32_t j) {
    if (query_head >= 2) return 0.0F;
    if (r < prompt && dense_prefill) return 0.0F;
    const uint32_t from = r < prompt ? r / chunk * chunk : r;
    return j < sinks || j + window >= from ? 0.0F : kUnseen;
  };
}

TEST(Duo, StreamingHeadsReadSinksTheWindowAndTheirChunk) {
  constexpr uint32_t kPrompt = 420;
  for (const auto& [sinks, window, chunk] :
       {std::tuple{4u, 50u, 1u}, {0u, 1u, 1u}, {70u, 64u, 1u}, {4u, 50u, 32u}, {16u, 64u, 100u}, {4u, 64u, 512u}}) {
    const std::string options = fmt::format("sinks={},window={},chunk={})", sinks, window, chunk);
    OneLayer layer = half(options);
    const Rows3 x = layer.random_rows(450, 1);
    const std::vector<float> expected =
        masked_attention(x, layer.model(), mask(sinks, window, chunk, kPrompt, /*dense_prefill=*/false));
    const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
    EXPECT_LT(largest_difference(whole, expected), 4e-3) << options;  // entries are halves
    for (const uint32_t pass : {64u, 7u}) {
      layer.clear();
      EXPECT_EQ(layer.feed(x, kPrompt, pass), whole) << options << " in passes of " << pass;
    }
  }
}

TEST(Duo, ADensePrefillStreamsFromTheAnswerOn) {
  constexpr uint32_t kPrompt = 300;
  OneLayer layer = half("sinks=4,window=60,prefill=dense)"), dense("dense");
  const Rows3 x = layer.random_rows(340, 2);
  const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
  EXPECT_LT(largest_difference(whole, masked_attention(x, layer.model(), mask(4, 60, 1, kPrompt, true))), 4e-3);
  std::vector<float> alike = dense.feed(x, kPrompt, kPrompt);
  const auto prompt_end = static_cast<ptrdiff_t>(kPrompt * layer.model().q_width());
  EXPECT_TRUE(std::equal(alike.begin(), alike.begin() + prompt_end, whole.begin()));
  layer.clear();
  EXPECT_EQ(layer.feed(x, kPrompt, 33), whole);
}

TEST(Duo, ALaterPromptReadsWhatIsLeft) {
  OneLayer layer = half("sinks=4,window=40)");
  const Rows3 x = layer.random_rows(330, 3);
  std::vector<float> all = layer.feed(x, 330, 100);
  layer.clear();
  layer.begin_prompt(200);
  std::vector<float> turns;
  const auto take = [&](uint32_t first, uint32_t rows) {
    const std::vector<float> o = layer.pass(x, first, rows);
    turns.insert(turns.end(), o.begin(), o.end());
  };
  take(0, 200);
  for (uint32_t r = 200; r < 230; ++r) take(r, 1);
  layer.begin_prompt(310);
  take(230, 50);
  take(280, 30);
  for (uint32_t r = 310; r < 330; ++r) take(r, 1);
  // The strict window is the same for prompts and answers, so the turns do not matter.
  EXPECT_LT(largest_difference(turns, all), 2e-6);
}

TEST(Duo, QuantizedEntriesUnderTheSameMask) {
  constexpr uint32_t kPrompt = 300;
  for (const char* store : {"kv8", "kv4"}) {
    OneLayer layer = half(fmt::format("sinks=4,window=60); store={}", store)), dense(fmt::format("store={}", store));
    const Rows3 x = layer.random_rows(320, 4);
    const std::vector<float> whole = layer.feed(x, kPrompt, kPrompt);
    const double coded = largest_difference(dense.feed(x, kPrompt, kPrompt),
                                            masked_attention(x, dense.model(), [](auto...) { return 0.0F; }));
    EXPECT_LT(largest_difference(whole, masked_attention(x, layer.model(), mask(4, 60, 1, kPrompt, false))),
              1.5 * coded)
        << store;
    layer.clear();
    EXPECT_EQ(layer.feed(x, kPrompt, 64), whole) << store;
  }
}

TEST(Duo, KeepsEverythingWhereItMay) {
  OneLayer all("duo(ratio=1)"), wide = half("sinks=4,window=4092)"), most("duo(ratio=0.8)", {}, gates({0, 0})),
                                dense("dense");
  const Rows3 x = dense.random_rows(200, 5);
  const std::vector<float> expected = dense.feed(x, 190, 50);
  EXPECT_EQ(all.feed(x, 190, 50), expected);
  EXPECT_EQ(wide.feed(x, 190, 50), expected);
  EXPECT_EQ(most.feed(x, 190, 50), expected);
  // Nothing has left the window yet.
  OneLayer brief = half("sinks=64,window=256)");
  EXPECT_LT(largest_difference(brief.feed(x, 190, 50), expected), 2e-6);
}

TEST(Duo, GivesBackWhatStreamingHeadsDoNotRead) {
  OneLayer layer = half("sinks=4,window=100)");
  const Rows3 x = layer.random_rows(1000, 6);
  layer.feed(x, 900, 128);
  for (const Table& table : layer.cache().tables(LayerId(0))) {
    ASSERT_EQ(table.heads().size(), 1u);
    const uint64_t pages = table.page_bytes() / table.layout().bytes;
    if (table.heads()[0] == KvHead(1)) {
      EXPECT_EQ(pages, 16u);
    } else {
      EXPECT_LE(pages, 4u);
    }
  }
  EXPECT_EQ(layer.pool().counters().bytes_in_use, layer.cache().kv_bytes());
}

ModelShape three_layers() {
  return {.layers = 3,
          .query_heads = 4,
          .kv_heads = 2,
          .head_dim = 32,
          .score_scale = 1,
          .windows = {0, 64, 0},
          .fingerprint = "three layers"};
}

// The heads of three layers that keep everything, as 2 * layer + head.
Result<std::vector<uint32_t>> full_heads(const std::string& plan, std::span<const Profile> there) {
  const ModelShape model = three_layers();
  const MethodContext context{.model = model,
                              .context = 4096,
                              .profile = [&](std::string_view kind, const std::string& name) -> Result<Profile> {
                                for (const Profile& one : there) {
                                  if (one.kind == kind) return one;
                                }
                                return fail(ErrorCode::kNotFound, "no profile of kind {}{}", kind,
                                            name == "auto" ? "" : " in " + name);
                              }};
  LOCI_TRY(const AttentionPlan parsed, AttentionPlan::parse(plan));
  LOCI_TRY(const Stages stages, Stages::make(parsed, model, context));
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < 6; ++i) {
    if (stages.pattern(LayerId(i / 2), KvHead(i % 2), Phase::kDecode, {}).dense()) out.push_back(i);
  }
  return out;
}

TEST(Duo, ChoosesHeadsOverAllOpenLayers) {
  Profile learned = gates({.1, .4, 1, 1, .9, .3});
  learned.layers = 3;
  learned.heads = 2;
  Profile probe;
  probe.kind = "retrieval-heads";
  probe.layers = 3;
  probe.heads = 4;
  probe.values["retrieval"] = {0, 0, 0, .5, 1, 1, 1, 1, 0, 0, 0, 0};
  probe.values["mass"] = {0, 0, 0, .1, 1, 1, 1, 1, 0, 0, 0, .2};
  using Heads = std::vector<uint32_t>;
  const auto heads = [](const std::string& plan, std::initializer_list<Profile> there) {
    return *full_heads(plan, std::vector(there));
  };
  EXPECT_EQ(heads("duo(ratio=0.5)", {learned, probe}), (Heads{1, 4}));
  EXPECT_EQ(heads("duo(ratio=0.25)", {learned}), Heads{4});
  EXPECT_EQ(heads("duo(ratio=0)", {learned}), Heads{});
  EXPECT_EQ(heads("duo(ratio=0.5,source=retrieval)", {learned, probe}), (Heads{1, 5}));  // the tie goes to the mass
  EXPECT_EQ(heads("duo(ratio=0.5)", {probe}), (Heads{1, 5}));
}

TEST(Duo, SaysWhichProfileIsMissing) {
  EXPECT_EQ(full_heads("duo", {}).error().message, "no profile of kind duo");
  EXPECT_EQ(full_heads("duo(source=retrieval)", {}).error().message, "no profile of kind retrieval-heads");
  EXPECT_EQ(
      full_heads("duo(profile=a.json)", {}).error().message,
      "no profile of kind duo in a.json; and as the probe's scores: no profile of kind retrieval-heads in a.json");
  const Profile wrong = gates({1, 2});
  EXPECT_THAT(full_heads("duo", std::span(&wrong, 1)).error().message, HasSubstr("counts 1 layers of 2 heads"));
}

}  // namespace
}  // namespace loci::test::duo
