// Scores in decode steps, and the logits that a probe sees.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "loci/loci.h"

namespace loci {
namespace {

const std::string kNeedle = std::string(LOCI_SOURCE_DIR) + "/models/needle-14m-q8_0.gguf";

Engine load(const std::string& attention = "dense", uint32_t chunk = 512) {
  Result<Engine> engine =
      Engine::load(kNeedle, {.context = 256, .chunk = chunk, .attention = attention, .prefix_cache = false});
  if (!engine.ok()) throw std::runtime_error(engine.error().message);
  return std::move(*engine);
}

constexpr const char* kText =
    "The ship went down the river in the night, and nobody saw it until the morning came over the hills.";

using LogitRows = std::map<uint32_t, std::vector<float>>;

Probe into(LogitRows& rows, std::vector<TokenId> expected = {}) {
  return {.expected = std::move(expected), .on_logits = [&rows](uint32_t row, std::span<const float> logits) {
            EXPECT_EQ(row, rows.size());
            rows[row].assign(logits.begin(), logits.end());
          }};
}

TokenId argmax(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

TEST(Score, DecodeStepsOfDenseScoreLikeAPrompt) {
  Engine engine = load();
  const std::vector<TokenId> tokens = *engine.tokenize(kText);
  const std::vector<TokenScore> prompt = *engine.score(tokens);
  const std::vector<TokenScore> decoded = *engine.score(tokens, ScoreOptions{.window = 0, .prompt_tokens = 10});
  ASSERT_EQ(prompt.size(), decoded.size());
  double error = 0;
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (i < 9) {
      EXPECT_EQ(prompt[i].nll, decoded[i].nll) << i;
    }
    error += std::abs(prompt[i].nll - decoded[i].nll);
  }
  // The two phases round differently; each is within 0.02 of fp32 on the mean.
  EXPECT_LT(error / static_cast<double>(prompt.size()), 0.04);
  EXPECT_FALSE(engine.score(std::vector<TokenId>(300, 5), ScoreOptions{}).ok());
}

TEST(Score, DecodeStepsDoNotDependOnTheChunk) {
  Engine whole = load(), parts = load("dense", 7);
  const std::vector<TokenId> tokens = *whole.tokenize(kText);
  const std::vector<TokenScore> a = *whole.score(tokens, ScoreOptions{.window = 20, .prompt_tokens = 12});
  const std::vector<TokenScore> b = *parts.score(tokens, ScoreOptions{.window = 20, .prompt_tokens = 12});
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].nll, b[i].nll) << i;
}

TEST(Probe, SeesTheLogitsOfItsOwnAnswer) {
  Engine engine = load();
  const Request request{.prompt = *engine.tokenize(kText), .max_new_tokens = 12, .ignore_eos = true};
  LogitRows rows;
  const Completion probed = *engine.generate(request, into(rows));
  EXPECT_EQ(probed.tokens, engine.generate(request)->tokens);
  ASSERT_EQ(rows.size(), 12U);
  for (uint32_t i = 0; i < 12; ++i) EXPECT_EQ(argmax(rows[i]), probed.tokens[i]);
}

TEST(Probe, TheOwnAnswerExpectedShowsTheSameRows) {
  Engine engine = load();
  const Request request{.prompt = *engine.tokenize(kText), .max_new_tokens = 8, .ignore_eos = true};
  LogitRows own, expected;
  const Completion done = *engine.generate(request, into(own));
  EXPECT_EQ(engine.generate(request, into(expected, done.tokens))->tokens, done.tokens);
  EXPECT_EQ(own, expected);
}

// Rows are those of a sequence that is fed the expected tokens one by one, wherever the answer leaves them.
TEST(Probe, ReadsTheExpectedTextWhereTheAnswerIsAnother) {
  Engine engine = load("store=kv4");
  Request request{.prompt = *engine.tokenize(kText), .max_new_tokens = 8, .ignore_eos = true};
  const Completion own = *engine.generate(request);
  for (const size_t leaves_at : {0U, 1U, 5U, 8U}) {
    std::vector<TokenId> expected(own.tokens.begin(), own.tokens.begin() + static_cast<ptrdiff_t>(leaves_at));
    for (TokenId token : {900, 17, 17, 2300}) expected.push_back(token);
    LogitRows rows;
    EXPECT_EQ(engine.generate(request, into(rows, expected))->tokens, own.tokens);
    ASSERT_EQ(rows.size(), expected.size());
    std::vector<TokenId> whole = request.prompt;
    whole.insert(whole.end(), expected.begin(), expected.end());
    const auto scores =
        *engine.score(whole, ScoreOptions{.window = 0, .prompt_tokens = static_cast<uint32_t>(request.prompt.size())});
    for (uint32_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(argmax(rows[i]), scores[request.prompt.size() - 1 + i].argmax) << leaves_at << " " << i;
    }
  }
}

TEST(Probe, GoesOnBehindAnAnswerThatEndsEarly) {
  Engine engine = load();
  Request request{.prompt = *engine.tokenize(kText), .max_new_tokens = 8, .ignore_eos = true};
  const Completion full = *engine.generate(request);
  for (const uint32_t tokens : {0U, 1U, 3U}) {
    request.max_new_tokens = tokens;
    LogitRows rows;
    EXPECT_EQ(engine.generate(request, into(rows, full.tokens))->tokens.size(), tokens);
    ASSERT_EQ(rows.size(), full.tokens.size());
    for (uint32_t i = 0; i < rows.size(); ++i) EXPECT_EQ(argmax(rows[i]), full.tokens[i]) << tokens << " " << i;
  }
}

TEST(Probe, RefusesWhatTheContextCannotHold) {
  Engine engine = load();
  const Request request{.prompt = *engine.tokenize(kText)};
  EXPECT_FALSE(engine.generate(request, Probe{.expected = std::vector<TokenId>(300, 5)}).ok());
  EXPECT_FALSE(engine.generate(request, Probe{.expected = {99999}}).ok());
}

}  // namespace
}  // namespace loci
