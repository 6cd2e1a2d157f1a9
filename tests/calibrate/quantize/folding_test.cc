#include "calibrate/quantize/folding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "model/blocks.h"
#include "ops/op_fixture.h"

namespace loci {
namespace {

ModelConfig small_config(RopePairing pairing) {
  ModelConfig config;
  config.hidden = 24;
  config.ffn = 20;
  config.query_heads = 4;
  config.kv_heads = 2;
  config.head_dim = 8;
  config.rope_pairing = pairing;
  config.rope.push_back(plain_rope(100.0, 8));
  return config;
}

std::vector<float> some_numbers(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> out(count);
  for (float& x : out) x = normal(random);
  return out;
}

// Random weights with norms and biases, and statistics that suit them.
LayerUnderWork small_layer(const ModelConfig& config, std::mt19937& random) {
  LayerUnderWork out;
  const auto matrix = [&](size_t rows, size_t columns) {
    Matrix m(rows, columns);
    m.data = some_numbers(rows * columns, random);
    return m;
  };
  out.weights.matrices = {{"attn_q.weight", matrix(config.q_width(), config.hidden)},
                          {"attn_k.weight", matrix(config.kv_width(), config.hidden)},
                          {"attn_v.weight", matrix(config.kv_width(), config.hidden)},
                          {"attn_output.weight", matrix(config.hidden, config.q_width())},
                          {"ffn_gate.weight", matrix(config.ffn, config.hidden)},
                          {"ffn_up.weight", matrix(config.ffn, config.hidden)},
                          {"ffn_down.weight", matrix(config.hidden, config.ffn)}};
  out.weights.vectors = {{"attn_norm.weight", some_numbers(config.hidden, random)},
                         {"ffn_norm.weight", some_numbers(config.hidden, random)},
                         {"attn_q.bias", some_numbers(config.q_width(), random)},
                         {"attn_k.bias", some_numbers(config.kv_width(), random)},
                         {"attn_v.bias", some_numbers(config.kv_width(), random)}};
  const size_t widths[kLayerInputs] = {config.hidden, config.q_width(), config.hidden, config.ffn};
  for (size_t i = 0; i < kLayerInputs; ++i) {
    out.seen.grams[i] = matrix(widths[i], widths[i]);
    out.seen.spans[i] = some_numbers(widths[i], random);
    for (float& x : out.seen.spans[i]) x = std::fabs(x) + 0.1F;
    out.seen.rows[i] = matrix(5, widths[i]);
  }
  out.seen.key_high = some_numbers(config.kv_width(), random);
  for (float& x : out.seen.key_high) x = std::fabs(x) + 0.1F;
  out.seen.key_low.assign(config.kv_width(), -0.05F);
  return out;
}

std::vector<double> times(const Matrix& m, const std::vector<double>& x, const std::vector<float>* bias = nullptr) {
  std::vector<double> out(m.rows);
  for (size_t r = 0; r < m.rows; ++r) {
    for (size_t k = 0; k < m.columns; ++k) out[r] += double{m.row(r)[k]} * x[k];
    if (bias != nullptr) out[r] += (*bias)[r];
  }
  return out;
}

std::vector<double> normed(const std::vector<double>& x, const std::vector<float>& gain) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  std::vector<double> out(x);
  for (size_t i = 0; i < x.size(); ++i) out[i] *= gain[i] / std::sqrt(squares / static_cast<double>(x.size()));
  return out;
}

void turn(std::vector<double>& x, const ModelConfig& config, double position) {
  for (size_t head = 0; head < x.size(); head += config.head_dim) {
    for (size_t pair = 0; pair < config.head_dim / 2; ++pair) {
      const bool halves = config.rope_pairing == RopePairing::kHalves;
      double& a = x[head + (halves ? pair : 2 * pair)];
      double& b = x[head + (halves ? pair + config.head_dim / 2 : 2 * pair + 1)];
      const double angle = position * config.rope[0].inverse_frequencies[pair];
      const double turned = a * std::cos(angle) - b * std::sin(angle);
      b = a * std::sin(angle) + b * std::cos(angle);
      a = turned;
    }
  }
}

// What the engine does to inputs of a layer that reads them turned.
void turn_if(bool turns, std::vector<double>& x) {
  if (!turns) return;
  const auto width = static_cast<uint32_t>(x.size());
  std::vector<float> row(x.begin(), x.end());
  test::OpFixture f(1, best_isa());
  (*InputTurn::of_width(width))(f.context, {row.data(), 1, width, width});
  x.assign(row.begin(), row.end());
}

// What a layer makes of two tokens: the scores of the second's queries with the first's keys, what attention adds to
// the stream if it reads the first token alone, and what the feed-forward adds.
struct LayerOutputs {
  std::vector<double> scores, attention, feed_forward;
};
LayerOutputs run_layer(const LayerUnderWork& layer, const ModelConfig& config, const std::vector<double>& first,
                       const std::vector<double>& second) {
  LayerWeights w = layer.weights;
  LayerOutputs out;
  std::vector<double> a = normed(first, w.vectors.at("attn_norm.weight"));
  std::vector<double> b = normed(second, w.vectors.at("attn_norm.weight"));
  turn_if(config.turns_inputs, a);
  turn_if(config.turns_inputs, b);
  std::vector<double> q = times(w.at("attn_q.weight"), b, w.vector("attn_q.bias"));
  std::vector<double> k = times(w.at("attn_k.weight"), a, w.vector("attn_k.bias"));
  const std::vector<double> v = times(w.at("attn_v.weight"), a, w.vector("attn_v.bias"));
  turn(q, config, 9);
  turn(k, config, 2);
  if (const std::vector<float>* center = w.vector(kKeyCenter)) {
    for (size_t i = 0; i < k.size(); ++i) k[i] -= (*center)[i];
  }
  const size_t dim = config.head_dim, group = config.query_heads / config.kv_heads;
  std::vector<double> mixed(config.q_width());
  for (size_t h = 0; h < config.query_heads; ++h) {
    double score = 0;
    for (size_t d = 0; d < dim; ++d) {
      score += q[h * dim + d] * k[h / group * dim + d];
      mixed[h * dim + d] = v[h / group * dim + d] * static_cast<double>(h + 1);
    }
    out.scores.push_back(score);
  }
  out.attention = times(w.at("attn_output.weight"), mixed);
  std::vector<double> f = normed(second, w.vectors.at("ffn_norm.weight"));
  turn_if(config.turns_inputs, f);
  std::vector<double> gated = times(w.at("ffn_gate.weight"), f);
  const std::vector<double> up = times(w.at("ffn_up.weight"), f);
  for (size_t i = 0; i < gated.size(); ++i) gated[i] = gated[i] / (1 + std::exp(-gated[i])) * up[i];
  turn_if(config.turns_gated, gated);
  out.feed_forward = times(w.at("ffn_down.weight"), gated);
  return out;
}

double difference(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::fabs(a[i] - b[i]));
    size = std::max(size, std::fabs(a[i]));
  }
  return most / size;
}

void expect_same(const LayerOutputs& a, const LayerOutputs& b) {
  EXPECT_LT(difference(a.scores, b.scores), 1e-5);
  EXPECT_LT(difference(a.attention, b.attention), 1e-5);
  EXPECT_LT(difference(a.feed_forward, b.feed_forward), 1e-5);
}

class Folding : public testing::TestWithParam<RopePairing> {
 protected:
  std::mt19937 random_{17};
  ModelConfig config_ = small_config(GetParam());
  LayerUnderWork layer_ = small_layer(config_, random_);
  std::vector<double> first_ = doubles(), second_ = doubles();
  LayerOutputs before_ = run_layer(layer_, config_, first_, second_);

  std::vector<double> doubles() {
    const std::vector<float> x = some_numbers(config_.hidden, random_);
    return {x.begin(), x.end()};
  }
};

TEST_P(Folding, NormsMoveIntoTheMatricesBehindThem) {
  const float gain = layer_.weights.vectors.at("attn_norm.weight")[3];
  const float was = layer_.seen.gram(LayerInput::kAttention).row(3)[3];
  fold_norms(layer_);
  for (const float g : layer_.weights.vectors.at("attn_norm.weight")) EXPECT_EQ(g, 1.0F);
  EXPECT_NEAR(layer_.seen.gram(LayerInput::kAttention).row(3)[3], was / gain / gain,
              1e-3 * std::fabs(was / gain / gain));
  expect_same(before_, run_layer(layer_, config_, first_, second_));
}

// The stream is rotated: so are inputs, and what the layer adds.
TEST_P(Folding, ARotatedStreamGivesRotatedSums) {
  const Rotation rotation(config_.hidden);
  ThreadPool pool(2);
  const auto rotated = [&](const std::vector<double>& x) {
    std::vector<float> y(x.begin(), x.end());
    rotation.apply(y);
    return std::vector<double>(y.begin(), y.end());
  };
  fold_norms(layer_);
  rotate_stream(layer_, rotation, pool);
  LayerOutputs after = run_layer(layer_, config_, rotated(first_), rotated(second_));
  EXPECT_LT(difference(before_.scores, after.scores), 1e-5);
  EXPECT_LT(difference(rotated(before_.attention), after.attention), 1e-5);
  EXPECT_LT(difference(rotated(before_.feed_forward), after.feed_forward), 1e-5);
}

// However much text was measured: the scales of rows that they divide are stored as fp16.
TEST_P(Folding, NumbersThatSmoothStandAroundOne) {
  for (Matrix& gram : layer_.seen.grams) {
    for (float& x : gram.data) x = 1e6F * (std::fabs(x) + 1);
  }
  for (const std::vector<float>& scale :
       {input_balance(layer_, LayerInput::kGated, 0.75), input_balance(layer_, LayerInput::kAttention, 0.5),
        mixed_balance(layer_, config_), mixed_smoothing(layer_, config_, 0.3), gated_smoothing(layer_, 0.5)}) {
    double sum = 0;
    for (const float x : scale) sum += std::log(double{x});
    EXPECT_NEAR(sum / static_cast<double>(scale.size()), 0, 1e-4);
  }
}

TEST_P(Folding, TurnedInputsKeepOutputs) {
  ThreadPool pool(2);
  for (const LayerInput input : {LayerInput::kAttention, LayerInput::kFeedForward, LayerInput::kGated}) {
    const auto norm = [&] {
      const char* reader = input == LayerInput::kAttention ? "attn_q.weight"
                           : input == LayerInput::kGated   ? "ffn_down.weight"
                                                           : "ffn_gate.weight";
      return gram_norm(layer_.weights.at(reader), layer_.seen.gram(input), pool);
    };
    Matrix& gram = layer_.seen.gram(input);
    for (size_t k = 0; k < gram.rows; ++k) gram.row(k)[k] += 30;  // a gram's
    const double before = norm();
    const std::vector<float> scale = input_balance(layer_, input, 0.5);
    input == LayerInput::kGated ? smooth_gated(layer_, scale) : smooth_input(layer_, input, scale);
    turn_input(layer_, input, Rotation(gram.rows), pool);
    EXPECT_NEAR(norm() / before, 1, 1e-4);
  }
  config_.turns_inputs = config_.turns_gated = true;
  expect_same(before_, run_layer(layer_, config_, first_, second_));
}

TEST_P(Folding, RotatedValuesKeepOutputs) {
  ThreadPool pool(2);
  const auto norm = [&] {
    return gram_norm(layer_.weights.at("attn_output.weight"), layer_.seen.gram(LayerInput::kMixed), pool);
  };
  for (size_t k = 0; k < config_.q_width(); ++k) layer_.seen.gram(LayerInput::kMixed).row(k)[k] += 30;  // a gram's
  const double raised = norm();
  smooth_mixed(layer_, config_, mixed_balance(layer_, config_));
  rotate_values(layer_, Rotation(config_.head_dim), pool);
  expect_same(before_, run_layer(layer_, config_, first_, second_));
  EXPECT_NEAR(norm() / raised, 1, 1e-4);
}

TEST_P(Folding, SmoothedKeysKeepTheirScores) {
  const std::vector<float> lambda = key_smoothing(layer_, config_, 0.5);
  const std::vector<float> spans = layer_.seen.key_spans();
  smooth_keys(layer_, config_, lambda);
  expect_same(before_, run_layer(layer_, config_, first_, second_));
  for (size_t i = 0; i < spans.size(); ++i) EXPECT_FLOAT_EQ(layer_.seen.key_spans()[i], spans[i] / lambda[i]);
}

// Keys of one vector that turns with its position: the center is the mean over the positions asked for, which is the
// vector itself where a pair hardly turns and next to nothing where it turns often.
TEST_P(Folding, TheCenterOfKeysIsTheirMeanOverPositions) {
  const RopeFrequencies& rope = config_.rope[0];
  const std::vector<double> key = [&] {
    const std::vector<float> x = some_numbers(config_.kv_width(), random_);
    return std::vector<double>(x.begin(), x.end());
  }();
  const auto at = [&](double position) {
    std::vector<double> out = key;
    turn(out, config_, position);
    return out;
  };
  constexpr uint32_t kPositions = 1000;
  layer_.seen.keys = Matrix(64, config_.kv_width());
  layer_.seen.piece_rows = 32;
  for (size_t t = 0; t < layer_.seen.keys.rows; ++t) {
    const std::vector<double> turned = at(static_cast<double>(t % 32));
    std::copy(turned.begin(), turned.end(), layer_.seen.keys.row(t));
  }
  std::vector<double> mean(key.size());
  for (uint32_t t = 0; t < kPositions; ++t) {
    const std::vector<double> turned = at(t);
    for (size_t k = 0; k < key.size(); ++k) mean[k] += turned[k] / kPositions;
  }
  const std::vector<float> center = key_center(layer_, config_, rope, kPositions);
  for (size_t k = 0; k < key.size(); ++k) EXPECT_NEAR(center[k], mean[k], 1e-4) << k;
  EXPECT_LT(std::fabs(center[0]), 0.01) << "the first pair turns by a radian a token";
}

// Scores of a row all change by the same number, whatever the key; ranges and kept keys move along, and smoothing
// divides the center too.
TEST_P(Folding, CenteredKeysShiftTheScoresOfARowAlike) {
  layer_.seen.keys = Matrix(3, config_.kv_width());
  const std::vector<float> center = some_numbers(config_.kv_width(), random_);
  const std::vector<float> high = layer_.seen.key_high, low = layer_.seen.key_low;
  center_keys(layer_, center);
  for (size_t k = 0; k < center.size(); ++k) {
    EXPECT_FLOAT_EQ(layer_.seen.key_high[k], high[k] - center[k]);
    EXPECT_FLOAT_EQ(layer_.seen.key_low[k], low[k] - center[k]);
    EXPECT_FLOAT_EQ(layer_.seen.keys.row(2)[k], -center[k]);
  }
  const std::vector<float> lambda = key_smoothing(layer_, config_, 0.5);
  smooth_keys(layer_, config_, lambda);
  for (size_t k = 0; k < center.size(); ++k) {
    EXPECT_FLOAT_EQ(layer_.weights.vectors.at(kKeyCenter)[k], center[k] / lambda[k]);
  }
  const LayerOutputs one = run_layer(layer_, config_, first_, second_);
  const LayerOutputs other = run_layer(layer_, config_, second_, second_);
  LayerUnderWork plain = layer_;
  plain.weights.vectors.erase(kKeyCenter);
  const LayerOutputs plain_one = run_layer(plain, config_, first_, second_);
  const LayerOutputs plain_other = run_layer(plain, config_, second_, second_);
  for (size_t h = 0; h < config_.query_heads; ++h) {
    EXPECT_NEAR(one.scores[h] - other.scores[h], plain_one.scores[h] - plain_other.scores[h], 1e-4);
    EXPECT_GT(std::fabs(one.scores[h] - plain_one.scores[h]), 1e-3);
  }
}

// The balance is where sum (lambda q)^2 * sum (k / lambda)^2 is least, over the numbers that rotary pairs share.
TEST_P(Folding, BalancedKeysKeepTheirScoresAndSpreadErrorsLeast) {
  for (Matrix* rows : {&layer_.seen.queries, &layer_.seen.keys}) {
    *rows = Matrix(50, rows == &layer_.seen.queries ? config_.q_width() : config_.kv_width());
    for (size_t r = 0; r < rows->rows; ++r) {
      for (size_t k = 0; k < rows->columns; ++k) {
        // Equal over a pair and over the query heads of a group, as rotation makes them on the mean.
        const size_t pair = GetParam() == RopePairing::kHalves ? k % 4 : k % 8 / 2;
        rows->row(r)[k] = static_cast<float>(rows == &layer_.seen.queries ? 1 + pair * pair : 4.0 / (1.0 + 2.0 * pair));
      }
    }
  }
  const auto spread = [&](double alpha) {
    const std::vector<float> lambda = key_balance(layer_, config_, alpha);
    double q = 0, k = 0;
    for (size_t d = 0; d < config_.head_dim; ++d) {
      q += std::pow(double{lambda[d]} * layer_.seen.queries.row(0)[d], 2);
      k += std::pow(layer_.seen.keys.row(0)[d] / double{lambda[d]}, 2);
    }
    return q * k;
  };
  for (const double alpha : {0.0, 0.25, 0.45, 0.55, 1.0}) EXPECT_LT(spread(0.5), spread(alpha)) << alpha;
  smooth_keys(layer_, config_, key_balance(layer_, config_, 0.5));
  expect_same(before_, run_layer(layer_, config_, first_, second_));
}

// Members of a rotary pair with numbers of their own: rotation does not commute with them.
TEST_P(Folding, BrokenPairsChangeScores) {
  std::vector<float> lambda = key_smoothing(layer_, config_, 0.5);
  lambda[1] *= 2;
  smooth_keys(layer_, config_, lambda);
  EXPECT_GT(difference(before_.scores, run_layer(layer_, config_, first_, second_).scores), 1e-3);
}

TEST_P(Folding, SmoothedInputsKeepOutputs) {
  for (const double alpha : {0.0, 0.5}) {
    for (const LayerInput input : {LayerInput::kAttention, LayerInput::kFeedForward}) {
      smooth_input(layer_, input, input_smoothing(layer_, input, alpha));
    }
    expect_same(before_, run_layer(layer_, config_, first_, second_));
  }
}

TEST_P(Folding, SmoothedOutputsStay) {
  for (const double alpha : {0.0, 0.3}) {
    smooth_mixed(layer_, config_, mixed_smoothing(layer_, config_, alpha));
    smooth_gated(layer_, gated_smoothing(layer_, alpha));
    expect_same(before_, run_layer(layer_, config_, first_, second_));
  }
}

TEST_P(Folding, ReorderedColumnsKeepOutputs) {
  reorder_mixed(layer_, config_, mixed_order(layer_, config_));
  reorder_gated(layer_, gated_order(layer_));
  expect_same(before_, run_layer(layer_, config_, first_, second_));
  EXPECT_TRUE(std::ranges::is_sorted(layer_.seen.span(LayerInput::kGated), std::greater<>()));
}

// Statistics move with the weights: the norm of each projection's output stays what it was.
TEST_P(Folding, GramMatricesFollow) {
  ThreadPool pool(1);
  const auto norm_of = [&](const char* name, LayerInput input) {
    return gram_norm(layer_.weights.at(name), layer_.seen.gram(input), pool);
  };
  const double down = norm_of("ffn_down.weight", LayerInput::kGated);
  const double gate = norm_of("ffn_gate.weight", LayerInput::kFeedForward);
  const Matrix rows =
      outputs_of(all_rows(layer_.seen.some_rows(LayerInput::kGated)), layer_.weights.at("ffn_down.weight"), pool);
  smooth_input(layer_, LayerInput::kFeedForward, input_smoothing(layer_, LayerInput::kFeedForward, 0.2));
  const double output = norm_of("attn_output.weight", LayerInput::kMixed);
  smooth_gated(layer_, gated_smoothing(layer_, 0.2));
  smooth_mixed(layer_, config_, mixed_smoothing(layer_, config_, 0.2));
  reorder_gated(layer_, gated_order(layer_));
  reorder_mixed(layer_, config_, mixed_order(layer_, config_));
  EXPECT_NEAR(norm_of("ffn_down.weight", LayerInput::kGated) / down, 1, 1e-4);
  EXPECT_NEAR(norm_of("ffn_gate.weight", LayerInput::kFeedForward) / gate, 1, 1e-4);
  const Matrix moved =
      outputs_of(all_rows(layer_.seen.some_rows(LayerInput::kGated)), layer_.weights.at("ffn_down.weight"), pool);
  for (size_t i = 0; i < rows.data.size(); ++i) EXPECT_NEAR(moved.data[i], rows.data[i], 1e-3);
  EXPECT_NEAR(norm_of("attn_output.weight", LayerInput::kMixed) / output, 1, 1e-4);
}

// With norms of the heads the numbers are shared by all heads and live in the norms.
TEST_P(Folding, NormsOfHeadsTakeTheSmoothing) {
  layer_.weights.vectors["attn_q_norm.weight"] = some_numbers(config_.head_dim, random_);
  layer_.weights.vectors["attn_k_norm.weight"] = some_numbers(config_.head_dim, random_);
  const Matrix q = layer_.weights.at("attn_q.weight");
  const std::vector<float> k_norm = layer_.weights.vectors["attn_k_norm.weight"];
  const std::vector<float> lambda = key_smoothing(layer_, config_, 0.5);
  for (size_t d = 0; d < config_.head_dim; ++d) EXPECT_EQ(lambda[d], lambda[config_.head_dim + d]);
  smooth_keys(layer_, config_, lambda);
  EXPECT_EQ(layer_.weights.at("attn_q.weight").data, q.data);
  for (size_t d = 0; d < config_.head_dim; ++d) {
    EXPECT_FLOAT_EQ(layer_.weights.vectors["attn_k_norm.weight"][d], k_norm[d] / lambda[d]);
  }
}

INSTANTIATE_TEST_SUITE_P(Pairings, Folding, testing::Values(RopePairing::kHalves, RopePairing::kAdjacent),
                         [](const auto& p) { return p.param == RopePairing::kHalves ? "halves" : "adjacent"; });

}  // namespace
}  // namespace loci
