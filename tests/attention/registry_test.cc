#include "attention/registry/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/made_registry.h"

namespace loci {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Registry, TheBuiltInOneIsInOrder) {
  EXPECT_THAT(built_in_registry().problems(), IsEmpty());
  EXPECT_THAT(test::MadeRegistry().registry.problems(), IsEmpty());
}

TEST(Registry, ListsByStage) {
  const test::MadeRegistry made;
  EXPECT_THAT(made.registry.names(Stage::kStore), ElementsAre("kv16", "kv8", "kv4"));
  EXPECT_THAT(made.registry.names(Stage::kMix), ElementsAre("dense", "calibrate", "gates"));
  EXPECT_EQ(made.registry.find("snap"), &made.snap);
  EXPECT_EQ(made.registry.find("fast"), nullptr);
  EXPECT_NE(made.registry.find_preset("fast"), nullptr);
}

TEST(Registry, ExclusionsHoldBothWays) {
  const test::MadeRegistry made;
  EXPECT_EQ(Registry::exclusion(made.tokens, made.streaming), "a token outside the window cannot be selected");
  EXPECT_EQ(Registry::exclusion(made.streaming, made.tokens), "a token outside the window cannot be selected");
  EXPECT_FALSE(Registry::exclusion(made.streaming, made.snap).has_value());
}

// A registry of one changed method and what is found wrong with it.
template <typename Change>
std::vector<std::string> problems_after(Change change) {
  test::MadeRegistry made;
  change(made);
  return made.registry.problems();
}

TEST(Registry, FindsWhatIsWrong) {
  using M = test::MadeRegistry;
  EXPECT_THAT(problems_after([](M& m) { m.snap.name = "duo"; }), Contains(HasSubstr("given twice")));
  EXPECT_THAT(problems_after([](M& m) { m.snap.name = "Snap KV"; }), Contains(HasSubstr("its name must be")));
  EXPECT_THAT(problems_after([](M& m) { m.snap.citation = ""; }), ElementsAre("snap: it cites nothing"));
  EXPECT_THAT(problems_after([](M& m) { m.snap.summary = ""; }), ElementsAre("snap: it has no summary"));
  EXPECT_THAT(problems_after([](M& m) { m.snap.make_retain = nullptr; }),
              ElementsAre("snap: it answers 'retain', but does not say how it is made"));
  EXPECT_THAT(problems_after([](M& m) { m.snap.codec = KvCodec::kKv8; }),
              ElementsAre("snap: it does not answer 'store', but says how it is made"));
  EXPECT_THAT(problems_after([](M& m) { m.snap.lookback.times[0] = "rows"; }),
              ElementsAre("snap: it has no whole-number parameter 'rows'"));
  EXPECT_THAT(problems_after([](M& m) { m.snap.parameters[2].fallback = int64_t{8}; }),
              ElementsAre("snap: the default of parameter 'kernel' is out of its range"));
  EXPECT_THAT(problems_after([](M& m) { m.snap.parameters[1].fallback = int64_t{1024}; }),
              ElementsAre("snap: its defaults contradict each other"));
  EXPECT_THAT(problems_after([](M& m) {
                m.snap.parameters[3].fallback = int64_t{2};
                m.snap.check = nullptr;
              }),
              ElementsAre("snap: the default of parameter 'pool' is out of its range"));
  EXPECT_THAT(problems_after([](M& m) {
                m.snap.excludes.push_back({"nobody", "of nothing"});
              }),
              ElementsAre("snap: it excludes 'nobody', which does not exist"));
  EXPECT_THAT(problems_after([](M& m) { m.tokens.waivers[0].why = ""; }),
              ElementsAre("tokens: it waives 'replay agrees' without a reason"));
  EXPECT_THAT(problems_after([](M& m) { m.flex.phases = {}; }), Contains(HasSubstr("no phase")));
  const Registry preset({&kDense, &kStoreKv16}, {{"small", "store=kv2", "Little memory."}});
  EXPECT_THAT(preset.problems(), ElementsAre(HasSubstr("small: attention plan: 'store' has no method 'kv2'")));
}

TEST(Registry, ValuesReachTheOptionsOfTheMethod) {
  const test::MadeRegistry made;
  const auto defaults = made.snap.call().as<test::MadeRegistry::SnapOptions>();
  EXPECT_EQ(defaults.budget, 1024u);
  EXPECT_EQ(defaults.pool, test::MadeRegistry::Pool::kMax);
  EXPECT_EQ(made.duo.call().as<test::MadeRegistry::DuoOptions>().profile, "auto");
  EXPECT_EQ(made.duo.call().as<test::MadeRegistry::DuoOptions>().ratio, 0.5);
  EXPECT_DEATH((void)made.duo.call().as<test::MadeRegistry::SnapOptions>(), "own options");
}

TEST(Registry, TokensAreCountsTimesParameters) {
  const test::MadeRegistry made;
  EXPECT_EQ(made.flex.cell.of(made.flex.call()), 2048u);
  EXPECT_EQ(made.flex.cell.text(), "block x step");
  EXPECT_EQ((Tokens{.count = 128, .times = {"step"}}.text()), "128 x step");
  EXPECT_EQ((Tokens{.count = 128, .times = {"step"}}.of(made.flex.call())), 2048u);
  EXPECT_EQ(Tokens{.count = 64}.text(), "64");
}

}  // namespace
}  // namespace loci
