// Did the plan keep the needle? Yes or no, on a model whose every weight is known (induction_model.h), through the
// engine.
#include <gtest/gtest.h>

#include <map>

#include "engine/fingerprint.h"
#include "eval/induction_model.h"
#include "io/model_file.h"
#include "io/profile.h"
#include "io/temporary_folder.h"
#include "loci/loci.h"

namespace loci {
namespace {

using test::induction_prompt;
using test::InductionModel;
using test::InductionPrompt;

class InductionTest : public testing::Test {
 protected:
  InductionTest() : model_(folder_.write("induction.gguf", InductionModel::gguf())) {}

  // How many tokens of the answer are right, from its beginning.
  uint32_t kept(const std::string& plan, const InductionPrompt& prompt) {
    const auto length = static_cast<uint32_t>(prompt.tokens.size() + prompt.answer.size() + 1);
    Result<Engine> engine =
        Engine::load(model_.string(), {.threads = 2, .context = length, .attention = plan, .prefix_cache = false});
    EXPECT_TRUE(engine.ok()) << plan << ": " << engine.error().message;
    if (!engine.ok()) return 0;
    const Result<Completion> done = engine->generate(
        {.prompt = prompt.tokens, .max_new_tokens = static_cast<uint32_t>(prompt.answer.size()), .ignore_eos = true});
    EXPECT_TRUE(done.ok()) << plan << ": " << done.error().message;
    if (!done.ok()) return 0;
    uint32_t right = 0;
    while (right < done->tokens.size() && done->tokens[right] == prompt.answer[right]) ++right;
    return right;
  }

  // A profile whose layers have these gates, in layers of one KV head.
  std::string gates(const std::vector<double>& layers) {
    auto file = open_model_file(model_);
    EXPECT_TRUE(file.ok());
    Profile profile{.kind = "duo",
                    .model = model_fingerprint(**file),
                    .command = "by construction",
                    .layers = 2,
                    .heads = 1,
                    .values = {{"gate", layers}, {"alone", layers}, {"last", layers}},
                    .settings = {}};
    const std::string path = (folder_.path() / ("gates-" + std::to_string(layers[0]) + ".json")).string();
    EXPECT_TRUE(write_profile(profile, path).ok());
    return path;
  }

  TemporaryFolder folder_;
  std::filesystem::path model_;
};

constexpr uint32_t kLength = 4096;
constexpr uint32_t kValues = 4;
constexpr uint32_t kPast = 1000;  // far from both ends
constexpr uint32_t kNear = kLength - 100;

TEST_F(InductionTest, DenseFindsTheNeedleEverywhere) {
  for (const uint32_t position : {1U, 2U, 63U, 64U, kPast, 2047U, kNear, kLength - kValues - 2}) {
    const uint32_t values = position + 10 < kLength ? 8 : kValues;
    EXPECT_EQ(kept("dense", induction_prompt(kLength, position, values, position)), values) << position;
  }
}

TEST_F(InductionTest, FewerBitsFindItToo) {
  for (const char* plan : {"store=kv8", "store=kv4"}) {
    for (const uint32_t position : {1U, kPast, kNear}) {
      EXPECT_EQ(kept(plan, induction_prompt(kLength, position, kValues, position)), kValues) << plan << position;
    }
  }
}

TEST_F(InductionTest, AWindowFindsWhatStandsInIt) {
  const std::string plan = "streaming(sinks=4,window=256)";
  EXPECT_EQ(kept(plan, induction_prompt(kLength, kNear, kValues, 1)), kValues);
  EXPECT_EQ(kept(plan, induction_prompt(kLength, kPast, kValues, 2)), 0U);
  EXPECT_EQ(kept(plan, induction_prompt(kLength, kLength - 300, kValues, 3)), 0U);
}

// Layer 0 looks one token back, layer 1 anywhere.
TEST_F(InductionTest, OnlyTheLayerThatCopiesNeedsThePast) {
  const InductionPrompt prompt = induction_prompt(kLength, kPast, kValues, 4);
  EXPECT_EQ(kept("retain=streaming(sinks=4,window=64)@0", prompt), kValues);
  EXPECT_EQ(kept("retain=streaming(sinks=4,window=64)@1", prompt), 0U);
}

TEST_F(InductionTest, DuoWithTheRightHeadFindsItAndWithTheWrongOneDoesNot) {
  const InductionPrompt prompt = induction_prompt(kLength, kPast, kValues, 5);
  EXPECT_EQ(kept("duo(ratio=0.5,window=64,profile=" + gates({0, 1}) + ")", prompt), kValues);
  EXPECT_EQ(kept("duo(ratio=0.5,window=64,profile=" + gates({1, 0}) + ")", prompt), 0U);
  EXPECT_EQ(kept("duo(ratio=0.5,window=64,profile=" + gates({0, 1}) + "); store=kv4", prompt), kValues);
}

// The prompt's last queries vote for the key's follower alone; what the pooling's width does not reach is gone.
TEST_F(InductionTest, SnapKvKeepsAsMuchOfAValueAsItsPoolingReaches) {
  const InductionPrompt prompt = induction_prompt(kLength, kPast, 12, 6);
  EXPECT_EQ(kept("snapkv(budget=64,kernel=7)", prompt), 4U);
  EXPECT_EQ(kept("snapkv(budget=64,kernel=15)", prompt), 8U);
  EXPECT_EQ(kept("snapkv(budget=64,kernel=31)", prompt), 12U);
}

// The first needle of a long text: what a wrong angle, position or border would lose first.
TEST_F(InductionTest, SlowDenseFindsItInAQuarterOfAMillionTokens) {
  EXPECT_EQ(kept("dense", induction_prompt(1U << 18, 1, kValues, 7)), kValues);
}

// Layer 1 reads all of it, layer 0 a window: half of dense's work.
TEST_F(InductionTest, SlowAMillionTokens) {
  constexpr uint32_t kMillion = 1U << 20;
  const InductionPrompt prompt = induction_prompt(kMillion, 1, kValues, 8);
  // The first four tokens are sinks: the key and two of its values are among them.
  EXPECT_EQ(kept("streaming(sinks=4,window=1024)", prompt), 2U);
  EXPECT_EQ(kept("streaming(sinks=4,window=1024)", induction_prompt(kMillion, 5, kValues, 10)), 0U);
  EXPECT_EQ(kept("streaming(sinks=4,window=1024)", induction_prompt(kMillion, kMillion - 500, kValues, 9)), kValues);
  EXPECT_EQ(kept("retain=streaming(sinks=4,window=64)@0", prompt), kValues);
}

}  // namespace
}  // namespace loci
