// The hand-set pair of heads in the engine's own attention: a cache of examples under a plan, a query in a decode step.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "attention/one_layer.h"
#include "eval/linear_regression.h"

namespace loci {
namespace {

constexpr uint32_t kLayerDimensions = 5;
constexpr uint32_t kLayerExamples = 40;
constexpr double kLayerNoise = 0.1;
constexpr std::array<RegressionHead, 2> kHeads{{{0.13, 3.45}, {-0.13, -3.45}}};
constexpr double kLayerEta = 2 * 0.13 * 3.45;

// The last `count` examples, and the query's own entry, whose key and value are zero.
RegressionProblem seen(const RegressionProblem& all, size_t count) {
  RegressionProblem out = all;
  const size_t dropped = all.examples() - count;
  out.x.erase(out.x.begin(), out.x.begin() + static_cast<ptrdiff_t>(dropped * all.dimensions));
  out.y.erase(out.y.begin(), out.y.begin() + static_cast<ptrdiff_t>(dropped));
  out.x.insert(out.x.end(), all.dimensions, 0.0);
  out.y.push_back(0);
  return out;
}

// Both heads of the pair share one KV head; the query carries the sign.
class RegressionLayer {
 public:
  explicit RegressionLayer(const std::string& plan)
      : layer_(plan, {.query_heads = 2, .kv_heads = 1, .context = 64, .most_rows = kLayerExamples, .threads = 1}) {}

  double predict(const RegressionProblem& problem) {
    const uint32_t width = layer_.model().head_dim;
    test::Rows3 x;
    const size_t rows = problem.examples() + 1;
    x.q.assign(rows * 2 * width, 0);
    x.k.assign(rows * width, 0);
    x.v.assign(rows * width, 0);
    for (size_t l = 0; l < problem.examples(); ++l) {
      for (uint32_t i = 0; i < kLayerDimensions; ++i) {
        x.k[l * width + i] = static_cast<float>(problem.x[l * kLayerDimensions + i]);
      }
      x.v[l * width] = static_cast<float>(problem.y[l]);
    }
    for (size_t h = 0; h < kHeads.size(); ++h) {
      for (uint32_t i = 0; i < kLayerDimensions; ++i) {
        const double q = kHeads[h].omega * problem.query[i] / layer_.model().score_scale;
        x.q[((rows - 1) * 2 + h) * width + i] = static_cast<float>(q);
      }
    }
    layer_.clear();
    const auto prompt = static_cast<uint32_t>(problem.examples());
    const std::vector<float> o = layer_.feed(x, prompt, prompt);
    double out = 0;
    for (size_t h = 0; h < kHeads.size(); ++h) out += kHeads[h].mu * o[((rows - 1) * 2 + h) * width];
    return out;
  }

 private:
  test::OneLayer layer_;
};

struct Grade {
  double off = 0;    // the farthest from the closed form
  double error = 0;  // mean square
};

Grade grade(const std::string& plan, uint32_t kept) {
  RegressionLayer layer(plan);
  PythonRandom random(11);
  constexpr int kPrompts = 1000;
  Grade out;
  for (int i = 0; i < kPrompts; ++i) {
    const RegressionProblem problem = draw_regression(random, kLayerDimensions, kLayerExamples, kLayerNoise);
    const double said = layer.predict(problem);
    out.off = std::max(out.off, std::abs(said - predict_by_heads(seen(problem, kept), kHeads)));
    out.error += (said - problem.target) * (said - problem.target) / kPrompts;
  }
  return out;
}

// Entries are halves, and the answer is 3.45 times a small difference.
TEST(RegressionLayer, DenseAttentionIsTheClosedForm) {
  const Grade dense = grade("dense", kLayerExamples);
  EXPECT_LT(dense.off, 0.02);
  EXPECT_NEAR(dense.error, error_of_heads(kHeads, kLayerDimensions, kLayerExamples, kLayerNoise), 0.05);
}

// What a policy keeps can be read off its error: a window of 15 examples is worth about 15.
TEST(RegressionLayer, AnErrorTellsHowManyExamplesWereKept) {
  const Grade window = grade("streaming(sinks=0,window=16)", 15);
  EXPECT_LT(window.off, 0.02);
  const double worth = examples_for_error(window.error, kLayerEta, kLayerDimensions, kLayerNoise);
  EXPECT_GT(worth, 10);
  EXPECT_LT(worth, 20);
  EXPECT_GT(examples_for_error(grade("dense", kLayerExamples).error, kLayerEta, kLayerDimensions, kLayerNoise), 25);
}

TEST(RegressionLayer, CoarseEntriesCostLittle) {
  const Grade dense = grade("dense", kLayerExamples);
  const Grade coarse = grade("store=kv4", kLayerExamples);
  EXPECT_GT(coarse.off, dense.off);
  EXPECT_LT(coarse.error, dense.error + 0.05);
}

}  // namespace
}  // namespace loci
