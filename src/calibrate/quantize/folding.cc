#include "calibrate/quantize/folding.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>

#include "base/assert.h"
#include "model/blocks.h"

namespace loci {
namespace {

constexpr float kLeast = 1e-5F;  // of a span, in shares of the largest: channels that say nothing keep their scale near
constexpr float kLeastBalanced = 1e-2F;  // the same where ratios are taken

void scale_columns(Matrix& m, std::span<const float> by) {
  for (size_t r = 0; r < m.rows; ++r) {
    for (size_t k = 0; k < m.columns; ++k) m.row(r)[k] *= by[k];
  }
}

void scale_rows(Matrix& m, std::span<const float> by) {
  for (size_t r = 0; r < m.rows; ++r) {
    for (size_t k = 0; k < m.columns; ++k) m.row(r)[k] *= by[r];
  }
}

void scale_vector(std::vector<float>* v, std::span<const float> by) {
  if (v == nullptr) return;
  for (size_t i = 0; i < v->size(); ++i) (*v)[i] *= by[i];
}

std::vector<float> inverse_of(std::span<const float> x) {
  std::vector<float> out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = 1.0F / x[i];
  return out;
}

// An input's columns are multiplied by `by`.
void scale_input(LayerStatistics& seen, LayerInput input, std::span<const float> by) {
  Matrix& gram = seen.gram(input);
  if (gram.empty()) return;
  scale_columns(gram, by);
  scale_rows(gram, by);
  scale_columns(seen.some_rows(input), by);
  std::vector<float>& span = seen.span(input);
  for (size_t i = 0; i < span.size(); ++i) span[i] *= std::fabs(by[i]);
}

// The norm that makes the input of q, k and v, or of gate and up.
const char* norm_before(LayerInput input) {
  return input == LayerInput::kAttention ? "attn_norm.weight" : "ffn_norm.weight";
}

template <typename T>
std::vector<T> permuted(const std::vector<T>& v, std::span<const uint32_t> order) {
  std::vector<T> out(v.size());
  for (size_t i = 0; i < v.size(); ++i) out[i] = v[order[i]];
  return out;
}

void permute_columns(Matrix& m, std::span<const uint32_t> order) {
  std::vector<float> row(m.columns);
  for (size_t r = 0; r < m.rows; ++r) {
    for (size_t k = 0; k < m.columns; ++k) row[k] = m.row(r)[order[k]];
    std::copy(row.begin(), row.end(), m.row(r));
  }
}

void permute_rows(Matrix& m, std::span<const uint32_t> order) {
  Matrix out(m.rows, m.columns);
  for (size_t r = 0; r < m.rows; ++r) std::copy_n(m.row(order[r]), m.columns, out.row(r));
  m = std::move(out);
}

void permute_input(LayerStatistics& seen, LayerInput input, std::span<const uint32_t> order) {
  Matrix& gram = seen.gram(input);
  if (gram.empty()) return;
  permute_columns(gram, order);
  permute_rows(gram, order);
  permute_columns(seen.some_rows(input), order);
  seen.span(input) = permuted(seen.span(input), order);
}

// Of each query head its KV head's numbers: [query_heads * head_dim].
template <typename T>
std::vector<T> for_query_heads(const ModelConfig& config, std::span<const T> of_kv_heads) {
  const size_t dim = config.head_dim, group = config.query_heads / config.kv_heads;
  std::vector<T> out(config.q_width());
  for (size_t h = 0; h < config.query_heads; ++h) {
    std::copy_n(of_kv_heads.begin() + static_cast<std::ptrdiff_t>(h / group * dim), dim,
                out.begin() + static_cast<std::ptrdiff_t>(h * dim));
  }
  return out;
}

// The largest over the query heads of a KV head: [kv_heads * head_dim].
std::vector<float> largest_of_group(const ModelConfig& config, std::span<const float> of_query_heads) {
  const size_t dim = config.head_dim, group = config.query_heads / config.kv_heads;
  std::vector<float> out(config.kv_width());
  for (size_t i = 0; i < config.q_width(); ++i) {
    float& to = out[i / dim / group * dim + i % dim];
    to = std::max(to, of_query_heads[i]);
  }
  return out;
}

std::vector<float> column_spans(const Matrix& m) {
  std::vector<float> out(m.columns);
  for (size_t r = 0; r < m.rows; ++r) {
    for (size_t k = 0; k < m.columns; ++k) out[k] = std::max(out[k], std::fabs(m.row(r)[k]));
  }
  return out;
}

void keep_above(std::vector<float>& span, float share) {
  const float largest = *std::max_element(span.begin(), span.end());
  for (float& x : span) x = largest > 0 ? std::max(x, share * largest) : 1.0F;
}

// Over their geometric mean: scales of rows that are divided by such numbers stay within what fp16 holds.
void balance_around_one(std::vector<float>& scale) {
  double sum = 0;
  for (const float x : scale) sum += std::log(double{x});
  const auto mean = static_cast<float>(std::exp(sum / static_cast<double>(scale.size())));
  for (float& x : scale) x /= mean;
}

std::vector<float> smoothing(std::vector<float> inputs, std::vector<float> weights, double alpha) {
  keep_above(inputs, kLeast);
  keep_above(weights, kLeast);
  std::vector<float> out(inputs.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(std::pow(double{inputs[i]}, alpha) / std::pow(double{weights[i]}, 1.0 - alpha));
  }
  balance_around_one(out);
  return out;
}

void fold_gain(LayerUnderWork& layer, const char* norm, LayerInput input, std::initializer_list<const char*> behind) {
  std::vector<float>& gain = layer.weights.vectors.at(norm);
  for (const char* name : behind) scale_columns(layer.weights.at(name), gain);
  // Channels that the gain switched off stay so: nothing was measured of them.
  std::vector<float> inverse(gain.size());
  for (size_t i = 0; i < gain.size(); ++i) inverse[i] = gain[i] == 0 ? 0.0F : 1.0F / gain[i];
  scale_input(layer.seen, input, inverse);
  std::fill(gain.begin(), gain.end(), 1.0F);
}

}  // namespace

void fold_norms(LayerUnderWork& layer) {
  fold_gain(layer, "attn_norm.weight", LayerInput::kAttention, {"attn_q.weight", "attn_k.weight", "attn_v.weight"});
  fold_gain(layer, "ffn_norm.weight", LayerInput::kFeedForward, {"ffn_gate.weight", "ffn_up.weight"});
}

bool stream_rotates(const LayerWeights& weights) {
  return !weights.vectors.contains("post_attention_norm.weight") && !weights.vectors.contains("post_ffw_norm.weight");
}

namespace {

// An input's columns are rotated in what has been measured of it.
void rotate_seen(LayerStatistics& seen, LayerInput input, const Rotation& rotation, ThreadPool& pool) {
  Matrix& gram = seen.gram(input);
  if (gram.empty()) return;
  rotation.apply_to_rows(gram, pool);
  rotation.apply_to_columns(gram, pool);
  rotation.apply_to_rows(seen.some_rows(input), pool);
  seen.span(input).clear();  // of columns that are no more
}

}  // namespace

void rotate_stream(LayerUnderWork& layer, const Rotation& rotation, ThreadPool& pool) {
  LOCI_ASSERT(stream_rotates(layer.weights), "norms behind a block do not let its output be rotated");
  for (const Projection& p : kProjections) {
    const bool reads = p.input == LayerInput::kAttention || p.input == LayerInput::kFeedForward;
    Matrix& m = layer.weights.at(p.name);
    reads ? rotation.apply_to_rows(m, pool) : rotation.apply_to_columns(m, pool);
  }
  for (const LayerInput input : {LayerInput::kAttention, LayerInput::kFeedForward}) {
    rotate_seen(layer.seen, input, rotation, pool);
  }
}

void turn_input(LayerUnderWork& layer, LayerInput input, const Rotation& rotation, ThreadPool& pool) {
  LOCI_ASSERT(input != LayerInput::kMixed, "the output projection's input is turned within values");
  if (input == LayerInput::kGated) {
    scale_rows(layer.weights.at("ffn_up.weight"), rotation.signs());
  } else {
    scale_vector(&layer.weights.vectors.at(norm_before(input)), rotation.signs());
  }
  for (const Projection& p : kProjections) {
    if (p.input == input) rotation.apply_to_rows(layer.weights.at(p.name), pool);
  }
  rotate_seen(layer.seen, input, rotation, pool);
}

namespace {

// The parts of each row that belong to a head are turned.
void rotate_heads(Matrix& m, const Rotation& rotation, ThreadPool& pool) {
  pool.parallel_for(m.rows, [&](size_t r, int) {
    for (size_t first = 0; first < m.columns; first += rotation.size()) {
      rotation.apply(m.span(r).subspan(first, rotation.size()));
    }
  });
}

void rotate_heads_of_rows(Matrix& m, const Rotation& rotation, ThreadPool& pool) {
  Matrix t = transposed(m);
  rotate_heads(t, rotation, pool);
  m = transposed(t);
}

}  // namespace

void rotate_values(LayerUnderWork& layer, const Rotation& rotation, ThreadPool& pool) {
  rotate_heads_of_rows(layer.weights.at("attn_v.weight"), rotation, pool);
  rotate_heads(layer.weights.at("attn_output.weight"), rotation, pool);
  if (std::vector<float>* bias = layer.weights.vector("attn_v.bias")) {
    for (size_t first = 0; first < bias->size(); first += rotation.size()) {
      rotation.apply(std::span(*bias).subspan(first, rotation.size()));
    }
  }
  Matrix& gram = layer.seen.gram(LayerInput::kMixed);
  if (gram.empty()) return;
  rotate_heads(gram, rotation, pool);
  rotate_heads_of_rows(gram, rotation, pool);
  rotate_heads(layer.seen.some_rows(LayerInput::kMixed), rotation, pool);
  rotate_heads(layer.seen.values, rotation, pool);
  layer.seen.span(LayerInput::kMixed).clear();  // of columns that are no more
}

namespace {

// Channels that share a number get the largest of theirs: members of a rotary pair, and those of all heads where norms
// that the heads share hold the numbers.
void share_channels(std::vector<float>& of_keys, const LayerUnderWork& layer, const ModelConfig& config) {
  const size_t dim = config.head_dim;
  if (layer.weights.vectors.contains("attn_k_norm.weight")) {
    for (size_t d = 0; d < dim; ++d) {
      float largest = 0;
      for (size_t at = d; at < of_keys.size(); at += dim) largest = std::max(largest, of_keys[at]);
      for (size_t at = d; at < of_keys.size(); at += dim) of_keys[at] = largest;
    }
  }
  const bool halves = config.rope_pairing == RopePairing::kHalves;
  const size_t pairs = config.rope[0].inverse_frequencies.size();
  for (size_t head = 0; head < config.kv_heads; ++head) {
    for (size_t pair = 0; pair < pairs; ++pair) {
      float& a = of_keys[head * dim + (halves ? pair : 2 * pair)];
      float& b = of_keys[head * dim + (halves ? pair + pairs : 2 * pair + 1)];
      a = b = std::max(a, b);
    }
  }
}

std::vector<float> root_mean_squares(const Matrix& rows) {
  std::vector<float> out(rows.columns);
  for (size_t k = 0; k < rows.columns; ++k) {
    double sum = 0;
    for (size_t r = 0; r < rows.rows; ++r) sum += double{rows.row(r)[k]} * rows.row(r)[k];
    out[k] = static_cast<float>(std::sqrt(sum / static_cast<double>(rows.rows)));
  }
  return out;
}

}  // namespace

std::vector<float> key_center(const LayerUnderWork& layer, const ModelConfig& config, const RopeFrequencies& rope,
                              uint32_t positions) {
  const Matrix& keys = layer.seen.keys;
  LOCI_ASSERT(keys.rows > 0 && keys.columns == config.kv_width(), "keys have been kept");
  const bool halves = config.rope_pairing == RopePairing::kHalves;
  const size_t dim = config.head_dim, pairs = rope.inverse_frequencies.size();
  std::vector<float> out(config.kv_width());
  for (size_t pair = 0; pair < pairs; ++pair) {
    const double angle = rope.inverse_frequencies[pair];
    std::complex<double> turns;
    for (uint32_t t = 0; t < positions; ++t) turns += std::polar(1.0, angle * t);
    for (size_t first = 0; first < out.size(); first += dim) {
      const size_t a = first + (halves ? pair : 2 * pair), b = first + (halves ? pair + pairs : 2 * pair + 1);
      std::complex<double> sum;
      for (size_t t = 0; t < keys.rows; ++t) {
        sum += std::complex<double>(keys.row(t)[a], keys.row(t)[b]) *
               std::polar(1.0, -angle * static_cast<double>(t % layer.seen.piece_rows));
      }
      const std::complex<double> mean = sum * turns / static_cast<double>(keys.rows) / static_cast<double>(positions);
      out[a] = static_cast<float>(mean.real());
      out[b] = static_cast<float>(mean.imag());
    }
  }
  for (size_t first = 0; first < out.size(); first += dim) {
    for (size_t d = first + 2 * pairs; d < first + dim; ++d) {
      double sum = 0;
      for (size_t t = 0; t < keys.rows; ++t) sum += keys.row(t)[d];
      out[d] = static_cast<float>(sum / static_cast<double>(keys.rows));
    }
  }
  return out;
}

void center_keys(LayerUnderWork& layer, std::span<const float> center) {
  LOCI_ASSERT(layer.weights.vector(kKeyCenter) == nullptr, "keys are centered once");
  layer.weights.vectors[kKeyCenter].assign(center.begin(), center.end());
  for (std::vector<float>* range : {&layer.seen.key_low, &layer.seen.key_high}) {
    for (size_t k = 0; k < range->size(); ++k) (*range)[k] -= center[k];
  }
  for (size_t t = 0; t < layer.seen.keys.rows; ++t) {
    for (size_t k = 0; k < center.size(); ++k) layer.seen.keys.row(t)[k] -= center[k];
  }
}

std::vector<float> key_smoothing(const LayerUnderWork& layer, const ModelConfig& config, double alpha) {
  std::vector<float> span = layer.seen.key_spans();
  LOCI_ASSERT(span.size() == config.kv_width(), "keys have been measured");
  share_channels(span, layer, config);
  keep_above(span, kLeast);
  for (float& x : span) x = static_cast<float>(std::pow(double{x}, alpha));
  return span;
}

std::vector<float> key_balance(const LayerUnderWork& layer, const ModelConfig& config, double alpha) {
  std::vector<float> keys = root_mean_squares(layer.seen.keys);
  std::vector<float> queries = largest_of_group(config, root_mean_squares(layer.seen.queries));
  share_channels(keys, layer, config);
  share_channels(queries, layer, config);
  keep_above(keys, kLeastBalanced);
  keep_above(queries, kLeastBalanced);
  for (size_t i = 0; i < keys.size(); ++i) {
    keys[i] = static_cast<float>(std::pow(double{keys[i]} / double{queries[i]}, alpha));
  }
  return keys;
}

void smooth_keys(LayerUnderWork& layer, const ModelConfig& config, std::span<const float> lambda) {
  const std::vector<float> inverse = inverse_of(lambda);
  const std::vector<float> for_queries = for_query_heads(config, lambda);
  if (std::vector<float>* gain = layer.weights.vector("attn_k_norm.weight")) {
    scale_vector(gain, std::span(inverse).first(config.head_dim));
    scale_vector(layer.weights.vector("attn_q_norm.weight"), lambda.first(config.head_dim));
  } else {
    scale_rows(layer.weights.at("attn_k.weight"), inverse);
    scale_vector(layer.weights.vector("attn_k.bias"), inverse);
    scale_rows(layer.weights.at("attn_q.weight"), for_queries);
    scale_vector(layer.weights.vector("attn_q.bias"), for_queries);
  }
  scale_vector(layer.weights.vector(kKeyCenter), inverse);
  scale_vector(&layer.seen.key_low, inverse);
  scale_vector(&layer.seen.key_high, inverse);
  if (!layer.seen.keys.empty()) {
    scale_columns(layer.seen.keys, inverse);
    scale_columns(layer.seen.queries, for_queries);
  }
}

std::vector<float> mixed_smoothing(const LayerUnderWork& layer, const ModelConfig& config, double alpha) {
  return smoothing(largest_of_group(config, layer.seen.span(LayerInput::kMixed)),
                   largest_of_group(config, column_spans(layer.weights.at("attn_output.weight"))), alpha);
}

std::vector<float> mixed_balance(const LayerUnderWork& layer, const ModelConfig& config) {
  const Matrix& gram = layer.seen.gram(LayerInput::kMixed);
  std::vector<float> inputs(gram.rows);
  for (size_t k = 0; k < inputs.size(); ++k) inputs[k] = std::sqrt(gram.row(k)[k]);
  inputs = largest_of_group(config, inputs);
  std::vector<float> weights = largest_of_group(config, root_mean_squares(layer.weights.at("attn_output.weight")));
  keep_above(inputs, kLeastBalanced);
  keep_above(weights, kLeastBalanced);
  std::vector<float> out(inputs.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = std::sqrt(inputs[i] / weights[i]);
  balance_around_one(out);
  return out;
}

std::vector<float> gated_smoothing(const LayerUnderWork& layer, double alpha) {
  return smoothing(layer.seen.span(LayerInput::kGated), column_spans(layer.weights.at("ffn_down.weight")), alpha);
}

std::vector<float> input_balance(const LayerUnderWork& layer, LayerInput input, double alpha) {
  const Matrix& gram = layer.seen.gram(input);
  std::vector<float> inputs(gram.rows), weights(gram.rows);
  for (size_t k = 0; k < inputs.size(); ++k) inputs[k] = std::sqrt(gram.row(k)[k]);
  for (const Projection& p : kProjections) {
    if (p.input != input) continue;
    const Matrix& w = layer.weights.at(p.name);
    std::vector<double> columns(w.columns);
    double outputs = 0;  // about: as if columns had nothing in common
    for (size_t r = 0; r < w.rows; ++r) {
      for (size_t k = 0; k < w.columns; ++k) columns[k] += double{w.row(r)[k]} * w.row(r)[k];
    }
    for (size_t k = 0; k < w.columns; ++k) outputs += columns[k] * gram.row(k)[k];
    for (size_t k = 0; k < w.columns && outputs > 0; ++k) weights[k] += static_cast<float>(columns[k] / outputs);
  }
  for (float& w : weights) w = std::sqrt(w);
  keep_above(inputs, kLeastBalanced);
  keep_above(weights, kLeastBalanced);
  std::vector<float> out(inputs.size());
  for (size_t k = 0; k < out.size(); ++k) {
    out[k] = static_cast<float>(std::pow(double{inputs[k]} / double{weights[k]}, alpha));
  }
  balance_around_one(out);
  return out;
}

std::vector<float> input_smoothing(const LayerUnderWork& layer, LayerInput input, double alpha) {
  std::vector<float> weights(layer.seen.span(input).size());
  for (const Projection& p : kProjections) {
    if (p.input != input) continue;
    const std::vector<float> spans = column_spans(layer.weights.at(p.name));
    for (size_t k = 0; k < weights.size(); ++k) weights[k] = std::max(weights[k], spans[k]);
  }
  return smoothing(layer.seen.span(input), weights, alpha);
}

void smooth_input(LayerUnderWork& layer, LayerInput input, std::span<const float> scale) {
  const std::vector<float> inverse = inverse_of(scale);
  scale_vector(&layer.weights.vectors.at(norm_before(input)), inverse);
  for (const Projection& p : kProjections) {
    if (p.input == input) scale_columns(layer.weights.at(p.name), scale);
  }
  scale_input(layer.seen, input, inverse);
}

void smooth_mixed(LayerUnderWork& layer, const ModelConfig& config, std::span<const float> scale) {
  const std::vector<float> inverse = inverse_of(scale), columns = for_query_heads(config, scale);
  scale_rows(layer.weights.at("attn_v.weight"), inverse);
  scale_vector(layer.weights.vector("attn_v.bias"), inverse);
  scale_columns(layer.weights.at("attn_output.weight"), columns);
  scale_input(layer.seen, LayerInput::kMixed, inverse_of(columns));
  if (!layer.seen.values.empty()) scale_columns(layer.seen.values, inverse);
}

void smooth_gated(LayerUnderWork& layer, std::span<const float> scale) {
  const std::vector<float> inverse = inverse_of(scale);
  scale_rows(layer.weights.at("ffn_up.weight"), inverse);
  scale_columns(layer.weights.at("ffn_down.weight"), scale);
  scale_input(layer.seen, LayerInput::kGated, inverse);
}

std::vector<uint32_t> mixed_order(const LayerUnderWork& layer, const ModelConfig& config) {
  const std::vector<float> span = largest_of_group(config, layer.seen.span(LayerInput::kMixed));
  std::vector<uint32_t> order(span.size());
  std::iota(order.begin(), order.end(), 0u);
  for (size_t first = 0; first < order.size(); first += config.head_dim) {
    const auto begin = order.begin() + static_cast<std::ptrdiff_t>(first);
    std::stable_sort(begin, begin + config.head_dim, [&](uint32_t a, uint32_t b) { return span[a] > span[b]; });
  }
  return order;
}

std::vector<uint32_t> gated_order(const LayerUnderWork& layer) {
  const std::vector<float>& span = layer.seen.span(LayerInput::kGated);
  std::vector<uint32_t> order(span.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return span[a] > span[b]; });
  return order;
}

void reorder_mixed(LayerUnderWork& layer, const ModelConfig& config, std::span<const uint32_t> order) {
  const size_t dim = config.head_dim, group = config.query_heads / config.kv_heads;
  std::vector<uint32_t> columns(config.q_width());
  for (size_t i = 0; i < columns.size(); ++i) {
    const size_t kv_head = i / dim / group;
    columns[i] = static_cast<uint32_t>(i / dim * dim + order[kv_head * dim + i % dim] % dim);
  }
  permute_rows(layer.weights.at("attn_v.weight"), order);
  if (std::vector<float>* bias = layer.weights.vector("attn_v.bias")) *bias = permuted(*bias, order);
  permute_columns(layer.weights.at("attn_output.weight"), columns);
  permute_input(layer.seen, LayerInput::kMixed, columns);
  if (!layer.seen.values.empty()) permute_columns(layer.seen.values, order);
}

void reorder_gated(LayerUnderWork& layer, std::span<const uint32_t> order) {
  permute_rows(layer.weights.at("ffn_gate.weight"), order);
  permute_rows(layer.weights.at("ffn_up.weight"), order);
  permute_columns(layer.weights.at("ffn_down.weight"), order);
  permute_input(layer.seen, LayerInput::kGated, order);
}

}  // namespace loci
