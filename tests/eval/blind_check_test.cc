// Does the suite tell blind methods from seeing ones? At the sample count that ships (24 prompts a cell) a method that
// cannot have the needle must come out worse than dense with 95% confidence, and no worse where it does not matter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "eval/comparison.h"
#include "eval/runner.h"
#include "eval/suite_fixture.h"

namespace loci {
namespace {

constexpr uint32_t kBlindLength = 2048;
constexpr const char* kSeeing = "dense";
// Of 2,048 tokens it reads 260: 22 of 24 needles at even depths stand outside.
constexpr const char* kStreaming = "streaming(sinks=4,window=256)";
// Room for fewer entries than a needle has tokens, beside the window of observing queries.
constexpr const char* kEviction = "snapkv(budget=24,window=16)";
// An eviction method with room enough: the check must not call everything blind that evicts.
constexpr const char* kRoomy = "snapkv(budget=1024,kernel=15)";

class BlindCheckSlow : public testing::Test {
 protected:
  void ask_all() {
    const SuiteData book({.haystack = read_shipped("data/books/moby-dick.txt"),
                          .adjectives = read_shipped("data/words/adjectives.txt"),
                          .nouns = read_shipped("data/words/nouns.txt"),
                          .verbs = read_shipped("data/words/verbs.txt"),
                          .held_out_keys = true});
    EvalRun run;  // 24 prompts: what `loci eval` asks unless told otherwise
    run.tasks = *find_tasks("ruler:niah_single_2");
    run.lengths = {kBlindLength};
    run.plans = {kSeeing, kStreaming, kEviction, kRoomy};
    run.samples.even_depths = true;
    EvalHooks hooks;
    hooks.load = [](const std::string& plan) {
      return Engine::load(shipped_model(), {.context = kBlindLength + 128, .attention = plan, .prefix_cache = false});
    };
    ResultFile file;
    ReferenceStore references;
    const Status done = run_evaluation(run, book, hooks, file, references);
    ASSERT_TRUE(done.ok()) << done.error().message;
    results_ = file.sorted(run.plans, {"niah_single_2"});
  }

  PairedCell against_dense(const char* plan) {
    const Result<std::vector<PairedCell>> cells = compare_results(results_, kSeeing, results_, plan);
    EXPECT_TRUE(cells.ok()) << cells.error().message;
    return cells->front();
  }

  Interval score(const char* plan) {
    for (const Cell& cell : summarize(results_)) {
      if (cell.plan == plan) return cell.score;
    }
    return {};
  }

  // Of every token of windows of a text, longer than what streaming reads.
  static std::vector<double> window_nll(const char* plan) {
    Result<Engine> engine =
        Engine::load(shipped_model(), {.context = kBlindLength, .attention = plan, .prefix_cache = false});
    EXPECT_TRUE(engine.ok());
    const std::string text = read_shipped("data/books/moby-dick.txt");
    std::vector<TokenId> tokens = *engine->tokenize(text.substr(text.size() / 2, 80000));
    tokens.resize(8 * kBlindLength);
    ScoreOptions options;
    options.window = kBlindLength;
    const Result<std::vector<TokenScore>> scores = engine->score(tokens, options);
    EXPECT_TRUE(scores.ok());
    std::vector<double> out;
    for (const TokenScore& score : *scores) out.push_back(score.nll);
    return out;
  }

  std::vector<PromptResult> results_;
};

TEST_F(BlindCheckSlow, NeedlesTellMethodsApart) {
  ask_all();
  EXPECT_EQ(score(kSeeing).mean, 1);
  EXPECT_GT(score(kSeeing).low, 0.85);
  EXPECT_LT(score(kStreaming).mean, 0.2);
  EXPECT_LT(score(kStreaming).high, score(kSeeing).low);
  EXPECT_LT(against_dense(kStreaming).difference.high, -0.5);
  // Near zero outside the window, and not by failing everywhere: the needle at the end is still seen.
  double outside = 0, count = 0;
  for (const PromptResult& result : results_) {
    if (result.key.plan != kStreaming) continue;
    if (result.depth < 0.8) {
      outside += result.score;
      ++count;
    }
  }
  EXPECT_GE(count, 18);
  EXPECT_LE(outside / count, 0.06);

  EXPECT_LT(score(kEviction).high, score(kSeeing).low);
  EXPECT_LT(against_dense(kEviction).difference.high, -0.5);
  const Interval roomy = against_dense(kRoomy).difference;
  EXPECT_GT(roomy.low, -0.3);
  EXPECT_GE(roomy.high, 0);
}

// The reference of the methods has streaming 0.10 nats above dense on a novel with these settings: a needle's loss is
// more than ten times that.
TEST_F(BlindCheckSlow, StreamingIsNearDenseOnPerplexity) {
  const std::vector<double> dense = window_nll(kSeeing);
  const std::vector<double> streaming = window_nll(kStreaming);
  ASSERT_GT(dense.size(), 16000U);
  const Interval difference = paired_interval(dense, streaming);
  EXPECT_LT(difference.high, 0.15) << difference.mean << " nats above " << mean_interval(dense).mean;
  EXPECT_GT(difference.low, -0.02);
}

}  // namespace
}  // namespace loci
