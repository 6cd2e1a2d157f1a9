#include "attention/mix/head_list.h"
#include "attention/one_layer.h"

namespace loci::test::ph3 {
namespace {

// Heads 1 and 3 give nothing, the others what they give without the plan.
void expect_named_heads_out(const OneLayerShape& shape) {
  OneLayer layer("mix=ph3(heads=0.1+0.3)", shape), dense("dense", shape);
  const Rows3 x = dense.random_rows(90, 2);
  std::vector<float> expected = dense.feed(x, 80, 80);
  const ModelShape& model = dense.model();
  for (size_t i = 0; i < expected.size(); ++i) {
    const size_t head = i % model.q_width() / model.head_dim;
    if (head == 1 || head == 3) expected[i] = 0;
  }
  EXPECT_EQ(layer.feed(x, 80, 80), expected);
  layer.clear();
  EXPECT_EQ(layer.feed(x, 80, 13), expected);
}

TEST(Ph3, TakesTheNamedHeadsOut) { expect_named_heads_out({}); }

TEST(Ph3, TakesHeadsOutOfLayersWithAWindowToo) {
  const OneLayerShape windowed{.window = 24};
  OneLayer narrow("dense", windowed), whole("dense");
  const Rows3 x = whole.random_rows(90, 2);
  ASSERT_NE(narrow.feed(x, 80, 80), whole.feed(x, 80, 80));
  expect_named_heads_out(windowed);
}

// Nobody needs what the first KV head's group would read: its memory and its reads go.
TEST(Ph3, AGroupThatIsCutOffAsAWholeKeepsNothing) {
  OneLayer layer("mix=ph3(heads=0.0+0.1)"), half("mix=ph3(heads=0.0)"), dense("dense");
  const Rows3 x = dense.random_rows(1000, 2);
  std::vector<float> expected = dense.feed(x, 990, 990);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (i % dense.model().q_width() / dense.model().head_dim < 2) expected[i] = 0;
  }
  EXPECT_EQ(layer.feed(x, 990, 128), expected);
  const uint64_t page = dense.cache().tables(LayerId(0))[0].layout().bytes;
  EXPECT_EQ(dense.cache().kv_bytes(), 2 * 16 * page);
  EXPECT_LE(layer.cache().kv_bytes(), (16 + 2) * page);
  half.feed(x, 990, 128);
  EXPECT_EQ(half.cache().kv_bytes(), dense.cache().kv_bytes()) << "the group's other head reads";
}

// Who is asked besides decides what the head keeps, or needs what it reads.
TEST(Ph3, AGroupThatAnotherMethodIsAskedForIsReadAsThatSays) {
  for (const char* plan :
       {"retain=snapkv(budget=64); mix=ph3(heads=0.0+0.1)", "mix=ph3(heads=0.0+0.1)+act(heads=0.0)"}) {
    const OneLayer layer(plan);
    EXPECT_EQ(layer.stages().classes(LayerId(0)).size(), 1u) << plan;
  }
}

TEST(Ph3, IsDenseWithoutHeads) {
  OneLayer dense("dense");
  const Rows3 x = dense.random_rows(50, 2);
  const std::vector<float> expected = dense.feed(x, 40, 40);
  for (const char* plan : {"mix=ph3(heads=none)", "mix=ph3(k=0)"}) {
    OneLayer layer(plan);
    EXPECT_EQ(layer.feed(x, 40, 40), expected) << plan;
  }
}

TEST(Ph3, PrunesTheBestOfTheOtherSideThatCarryAnything) {
  Profile profile;
  profile.kind = "ph3";
  profile.layers = 1;
  profile.heads = 4;
  profile.values = {{"memory", {0.1, 0.4, -0.2, 0.3}}, {"context", {-0.1, -0.4, 0.2, -0.3}}};
  const Rows3 x = OneLayer("dense").random_rows(50, 2);
  const auto with = [&](const char* plan) {
    OneLayer layer(plan, {}, profile);
    return layer.feed(x, 40, 40);
  };
  EXPECT_EQ(with("mix=ph3(use=context,k=2)"), with("mix=ph3(heads=0.1+0.3)"));
  EXPECT_EQ(with("mix=ph3(use=memory,k=3)"), with("mix=ph3(heads=0.2)"));
}

TEST(HeadSet, NamesWhatIsNoHead) {
  ModelShape model;
  model.layers = 6;
  model.query_heads = 8;
  const Result<HeadSet> good = HeadSet::parse("0.0+5.7", model);
  ASSERT_TRUE(good.ok());
  EXPECT_TRUE(good->has(LayerId(5), QueryHead(7)));
  EXPECT_FALSE(good->has(LayerId(5), QueryHead(6)));
  for (const char* bad : {"6.0", "0.8", "4", "4.", "4.0+", "4.0+x", "", "4.0.1", "99999999999.0"}) {
    const Result<HeadSet> set = HeadSet::parse(bad, model);
    ASSERT_FALSE(set.ok()) << bad;
    EXPECT_NE(set.error().message.find("layers up to 5 and heads up to 7"), std::string::npos);
  }
}

}  // namespace
}  // namespace loci::test::ph3
