#include "calibrate/quantize/layer_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "calibrate/quantize/attention_error.h"
#include "calibrate/quantize/key_feedback.h"
#include "calibrate/quantize/rounding.h"
#include "calibrate/quantize/sequential.h"
#include "model/blocks.h"

namespace loci {
namespace {

constexpr double kUnchanged = -1;
constexpr double kKeyAlphas[] = {0.25, 0.5, 0.75};
constexpr double kBalanceAlphas[] = {0.125, 0.25, 0.375, 0.5};
constexpr double kOutputAlphas[] = {0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5};
constexpr double kTurnedAlphas[] = {0, 0.25, 0.375, 0.5, 0.625, 0.75};
constexpr double kInputAlphas[] = {0, 0.15, 0.3, 0.4, 0.5, 0.6, 0.75};

// Of the gram matrix's mean diagonal, in corrections; which one suits depends on the model, the layer and how much text
// there is (docs/quantization.md).
constexpr double kDampings[] = {0.01, 0.05, 0.2, 0.5, 1, 2, 4};
constexpr const char* kInputNames[] = {"attention", "mixed", "feed_forward", "gated"};
// The center of keys is their mean over these positions at most: pairs that have not turned far by then have one.
constexpr uint32_t kCenteredPositions = 8192;
constexpr int kRefiningPasses = 4;  // what a fifth changes is not worth its time
constexpr int kScaleFits = 2;       // the same of a third

// "attn_q.weight" -> "attn_q"
std::string short_name(const std::string& name) { return name.substr(0, name.find('.')); }

class LayerQuantizer {
 public:
  LayerQuantizer(LayerUnderWork& layer, const ModelConfig& config, const QuantScheme& scheme, const QuantSteps& steps,
                 ThreadPool& pool)
      : layer_(layer), config_(config), scheme_(scheme), steps_(steps), pool_(pool) {}

  Status fold(LayerId id, const Rotation* rotation) {
    if (rotation != nullptr) {
      fold_norms(layer_);
      rotate_stream(layer_, *rotation, pool_);
    }
    if (steps_.center_keys) center(id);
    if (steps_.smooth_attention) smooth_attention();
    if (steps_.compensate_keys) LOCI_CHECK(compensate_keys(id));
    if (config_.turns_inputs) {
      turn_inputs();
    } else if (steps_.smooth_inputs && rotation == nullptr) {
      smooth_inputs();
    }
    if (steps_.smooth_outputs) smooth_mixed_input();
    if (config_.turns_gated) {
      report_["alpha.gated"] = balance_and_turn(LayerInput::kGated, Rotation(config_.ffn), steps_.smooth_outputs);
    } else if (steps_.smooth_outputs) {
      smooth_gated_input();
    }
    if (steps_.rotate_values) rotate_values(layer_, Rotation(config_.head_dim), pool_);
    if (steps_.reorder) reorder();
    if (!layer_.seen.keys.empty()) {
      report_["attention.error"] =
          attention_error(layer_.seen, config_, scheme_.store, true, pool_, layer_.weights.vector(kKeyFeedback));
    }
    return {};
  }

  // What the projections of an input are rounded for: its gram matrix, and by what they are corrected before.
  Status follow(LayerInput input, SequentialInputs& inputs, std::span<const QuantizedTensor> rounded,
                const Cancelled& cancelled) {
    LOCI_TRY(FollowedInput followed, inputs.follow(input, rounded, cancelled));
    LOCI_TRY(const std::optional<double> damping, best_damping(input, followed));
    followed.fit.add(followed.held);
    correction_ = Matrix();
    adds_ = !followed.fit.missing.empty();
    if (damping) {
      LOCI_TRY(correction_,
               solve_damped(followed.fit.gram, *damping, adds_ ? followed.fit.missing : followed.fit.shift));
    }
    report_[fmt::format("damping.{}", kInputNames[static_cast<size_t>(input)])] = damping.value_or(kUnchanged);
    layer_.seen.gram(input) = std::move(followed.fit.gram);
    return {};
  }

  Result<QuantizedTensor> round(const Projection& projection, const std::string& name) {
    Matrix w = layer_.weights.at(projection.name);
    if (!correction_.empty()) {
      const Matrix change = change_of(w, correction_, adds_);
      for (size_t i = 0; i < w.data.size(); ++i) w.data[i] += change.data[i];
    }
    const std::optional<DType> dtype = scheme_.weight_format(w.columns);
    if (!dtype || *dtype == DType::kF16) return store_matrix(name, w, DType::kF16, pool_);
    const Matrix& gram = layer_.seen.gram(projection.input);
    std::vector<RowGrid> grids;
    if (steps_.clip) {
      LOCI_TRY(grids, fitted_grids(w, *dtype, scheme_.group, gram, steps_.compensate, pool_));
    } else {
      grids = full_grids(w, *dtype, scheme_.group, pool_);
    }
    RoundedMatrix rounded;
    if (steps_.compensate) {
      Result<RoundedMatrix> compensated = round_compensated(w, *dtype, std::move(grids), gram, pool_);
      if (!compensated.ok()) return fail(compensated.error().code, "{}: {}", name, compensated.error().message);
      rounded = std::move(compensated).value();
      refine(w, gram, kRefiningPasses, kScaleFits, rounded, pool_);
    } else {
      rounded = round_to_nearest(w, *dtype, std::move(grids), pool_);
    }
    if (!gram.empty()) {
      const double off = gram_norm(rounding_error(w, rounded, pool_), gram, pool_);
      const double all = gram_norm(w, gram, pool_);
      report_["error." + short_name(projection.name)] = all > 0 ? std::sqrt(off / all) : 0;
    }
    return QuantizedTensor{{name, *dtype, {w.rows, w.columns}}, rounded.bytes()};
  }

  const LayerReport& report() const { return report_; }

 private:
  Matrix change_of(const Matrix& w, const Matrix& correction, bool adds) const {
    if (adds) return correction;
    Matrix out(w.rows, w.columns);
    add_product_of(w, correction, out, pool_);
    return out;
  }

  // The damping whose correction brings the held-out sequences' outputs nearest; none: they are nearest as they are.
  Result<std::optional<double>> best_damping(LayerInput input, const FollowedInput& followed) const {
    const FollowedSums& fit = followed.fit;
    const FollowedSums& held = followed.held;
    const bool adds = !fit.missing.empty();
    struct Judged {
      const Matrix* weights;
      Matrix wanted;
      double size;
    };
    std::vector<Judged> judged;
    for (const Projection& p : kProjections) {
      if (p.input != input) continue;
      const Matrix& w = layer_.weights.at(p.name);
      judged.push_back({&w, change_of(w, adds ? held.missing : held.shift, adds), gram_norm(w, held.gram, pool_)});
    }
    std::optional<double> best;
    double least = 0;  // change of the squared error, as a share of the outputs
    for (const double damping : kDampings) {
      LOCI_TRY(const Matrix correction, solve_damped(fit.gram, damping, adds ? fit.missing : fit.shift));
      double change = 0;
      for (const Judged& j : judged) {
        if (!(j.size > 0)) continue;
        const Matrix by = change_of(*j.weights, correction, adds);
        double fell = 0;
        for (size_t i = 0; i < by.data.size(); ++i) fell += 2 * double{by.data[i]} * j.wanted.data[i];
        change += (gram_norm(by, held.gram, pool_) - fell) / j.size;
      }
      if (change >= least) continue;
      least = change;
      best = damping;
    }
    return best;
  }

  // What rounding to nearest, of inputs too, puts the outputs of an input's projections off by, over the rows that have
  // been kept: as shares of them, summed. 0: nothing is rounded.
  double nearest_error(LayerInput input) const {
    Matrix x = layer_.seen.some_rows(input), rounded_x = x;
    if (scheme_.activation_bits == 8) round_rows_to_bytes(rounded_x, pool_);
    double sum = 0;
    for (const Projection& p : kProjections) {
      const Matrix& w = layer_.weights.at(p.name);
      const std::optional<DType> dtype = scheme_.weight_format(w.columns);
      if (p.input != input || !dtype || *dtype == DType::kF16) continue;
      const RoundedMatrix rounded = round_to_nearest(w, *dtype, full_grids(w, *dtype, scheme_.group, pool_), pool_);
      const Matrix off = rounding_error(w, rounded, pool_);
      Matrix stored = w;
      for (size_t i = 0; i < stored.data.size(); ++i) stored.data[i] -= off.data[i];
      const Matrix right = outputs_of(all_rows(x), w, pool_), got = outputs_of(all_rows(rounded_x), stored, pool_);
      double error = 0, size = 0;
      for (size_t i = 0; i < right.data.size(); ++i) {
        error += std::pow(double{right.data[i]} - got.data[i], 2);
        size += std::pow(double{right.data[i]}, 2);
      }
      if (size > 0) sum += error / size;
    }
    return sum;
  }

  void copy_sample(LayerUnderWork& to) const {
    to.seen.queries = layer_.seen.queries;
    to.seen.keys = layer_.seen.keys;
    to.seen.values = layer_.seen.values;
    to.seen.piece_rows = layer_.seen.piece_rows;
  }

  const RopeFrequencies& rope_of(LayerId id) const {
    return config_.layer_window(id.value) > 0 && config_.rope.size() > 1 ? config_.rope[1] : config_.rope[0];
  }

  // Heads whose attention over stored keys it does not bring nearer keep theirs as they are.
  void center(LayerId id) {
    std::vector<float> center =
        key_center(layer_, config_, rope_of(id), std::min(config_.trained_context, kCenteredPositions));
    const AttentionErrors before = attention_errors(layer_.seen, config_, scheme_.store, false, pool_);
    LayerUnderWork tried;
    copy_sample(tried);
    center_keys(tried, center);
    const AttentionErrors after = attention_errors(tried.seen, config_, scheme_.store, false, pool_);
    size_t centered = 0;
    for (size_t head = 0; head < config_.kv_heads; ++head) {
      if (after.off[head] < before.off[head]) {
        ++centered;
      } else {
        std::fill_n(center.begin() + static_cast<std::ptrdiff_t>(head * config_.head_dim), config_.head_dim, 0.0F);
      }
    }
    report_["keys.centered"] = static_cast<double>(centered);
    report_["attention.key_error.uncentered"] = before.share();
    if (centered > 0) center_keys(layer_, center);
  }

  // Every KV head takes the numbers whose error, measured on a copy of what the step changes, is least; those of heads
  // that share norms are taken together.
  void smooth_attention() {
    report_["keys.outliers"] = key_outliers(layer_.seen, config_);
    AttentionErrors least = attention_errors(layer_.seen, config_, scheme_.store, false, pool_);
    report_["attention.key_error.before"] = least.share();
    std::vector<float> best(config_.kv_width(), 1.0F);
    std::vector<bool> smoothed(config_.kv_heads);
    const bool together = layer_.weights.vectors.contains("attn_k_norm.weight");
    const auto attempt = [&](const std::vector<float>& lambda) {
      LayerUnderWork tried;
      tried.weights.vectors = layer_.weights.vectors;
      for (const char* matrix : {"attn_q.weight", "attn_k.weight"}) {
        tried.weights.matrices[matrix] = layer_.weights.at(matrix);
      }
      tried.seen.key_low = layer_.seen.key_low;
      tried.seen.key_high = layer_.seen.key_high;
      copy_sample(tried);
      smooth_keys(tried, config_, lambda);
      const AttentionErrors errors = attention_errors(tried.seen, config_, scheme_.store, false, pool_);
      for (size_t head = 0; head < config_.kv_heads; ++head) {
        if (together ? errors.share() >= least.share() : errors.off[head] >= least.off[head]) continue;
        const auto first = static_cast<std::ptrdiff_t>(head * config_.head_dim);
        std::copy_n(lambda.begin() + first, config_.head_dim, best.begin() + first);
        smoothed[head] = true;
        if (!together) least.off[head] = errors.off[head];
      }
      if (together && errors.share() < least.share()) least = errors;
    };
    for (const double alpha : kKeyAlphas) attempt(key_smoothing(layer_, config_, alpha));
    for (const double alpha : kBalanceAlphas) attempt(key_balance(layer_, config_, alpha));
    smooth_keys(layer_, config_, best);
    report_["keys.smoothed"] = static_cast<double>(std::count(smoothed.begin(), smoothed.end(), true));
    report_["attention.key_error.after"] = least.share();
  }

  // Heads whose attention it does not bring nearer round each number by itself.
  Status compensate_keys(LayerId id) {
    LOCI_TRY(std::vector<float> feedback, key_feedback(layer_.seen, config_, rope_of(id)));
    const AttentionErrors before = attention_errors(layer_.seen, config_, KvCodec::kKv4, false, pool_);
    AttentionErrors after = attention_errors(layer_.seen, config_, KvCodec::kKv4, false, pool_, &feedback);
    const size_t size = feedback.size() / config_.kv_heads;
    size_t compensated = 0;
    for (size_t head = 0; head < config_.kv_heads; ++head) {
      if (after.off[head] < before.off[head]) {
        ++compensated;
      } else {
        after.off[head] = before.off[head];
        std::fill_n(feedback.begin() + static_cast<std::ptrdiff_t>(head * size), size, 0.0F);
      }
    }
    report_["keys.compensated"] = static_cast<double>(compensated);
    report_["attention.key_error.compensated"] = after.share();
    if (compensated > 0) layer_.weights.vectors[kKeyFeedback] = std::move(feedback);
    return {};
  }

  // What rotation of the stream would do better.
  void smooth_inputs() {
    const auto smooth = [](LayerInput input) {
      return [input](LayerUnderWork& l, double alpha) { smooth_input(l, input, input_smoothing(l, input, alpha)); };
    };
    report_["alpha.attention"] = best_alpha(LayerInput::kAttention, kInputAlphas, smooth(LayerInput::kAttention));
    report_["alpha.feed_forward"] =
        best_alpha(LayerInput::kFeedForward, kInputAlphas, smooth(LayerInput::kFeedForward));
  }

  void turn_inputs() {
    const Rotation turn(config_.hidden);
    report_["alpha.attention"] = balance_and_turn(LayerInput::kAttention, turn, steps_.smooth_inputs);
    report_["alpha.feed_forward"] = balance_and_turn(LayerInput::kFeedForward, turn, steps_.smooth_inputs);
  }

  // The exponent that was best, if any is smoothed.
  double balance_and_turn(LayerInput input, const Rotation& turn, bool balance) {
    double least = 0, best = kUnchanged;
    const LayerUnderWork before = layer_;
    if (balance) {
      for (const double alpha : kTurnedAlphas) {
        smooth_for_turning(input, alpha);
        turn_input(layer_, input, turn, pool_);
        const double error = nearest_error(input);
        layer_ = before;
        if (best != kUnchanged && error >= least) continue;
        least = error;
        best = alpha;
      }
      smooth_for_turning(input, best);
    }
    turn_input(layer_, input, turn, pool_);
    return best;
  }

  void smooth_for_turning(LayerInput input, double alpha) {
    const std::vector<float> scale = input_balance(layer_, input, alpha);
    input == LayerInput::kGated ? smooth_gated(layer_, scale) : smooth_input(layer_, input, scale);
  }

  // Behind the balance values of a head can be turned: nothing sticks out then, and there is nothing to search.
  void smooth_mixed_input() {
    if (steps_.rotate_values) {
      smooth_mixed(layer_, config_, mixed_balance(layer_, config_));
      report_["alpha.mixed"] = 0.5;
    } else {
      report_["alpha.mixed"] = best_alpha(LayerInput::kMixed, kOutputAlphas, [&](LayerUnderWork& l, double alpha) {
        smooth_mixed(l, config_, mixed_smoothing(l, config_, alpha));
      });
    }
  }

  void smooth_gated_input() {
    report_["alpha.gated"] = best_alpha(LayerInput::kGated, kOutputAlphas, [&](LayerUnderWork& l, double alpha) {
      smooth_gated(l, gated_smoothing(l, alpha));
    });
  }

  double best_alpha(LayerInput input, std::span<const double> alphas,
                    const std::function<void(LayerUnderWork&, double)>& smooth) {
    double least = nearest_error(input), best = kUnchanged;
    if (least == 0) return best;
    const LayerUnderWork before = layer_;
    for (const double alpha : alphas) {
      smooth(layer_, alpha);
      const double error = nearest_error(input);
      if (error < least) {
        least = error;
        best = alpha;
      }
      layer_ = before;
    }
    if (best != kUnchanged) smooth(layer_, best);
    return best;
  }

  // Columns change their groups within a head, so only groups narrower than a head see it; where values have been
  // turned no channel is larger than the others.
  void reorder() {
    const std::optional<DType> mixed = scheme_.weight_format(config_.q_width());
    const bool turned = layer_.seen.span(LayerInput::kMixed).empty();
    if (mixed && !turned && is_row_scaled(*mixed) && step_group(*mixed) > 0 && step_group(*mixed) < config_.head_dim) {
      reorder_mixed(layer_, config_, mixed_order(layer_, config_));
    }
    if (!config_.turns_gated) reorder_gated(layer_, gated_order(layer_));
  }

  LayerUnderWork& layer_;
  const ModelConfig& config_;
  const QuantScheme& scheme_;
  const QuantSteps& steps_;
  ThreadPool& pool_;
  // Of the input that is followed: weights W become W + W correction, or W + correction where outputs are added to the
  // stream.
  Matrix correction_;
  bool adds_ = false;
  LayerReport report_;
};

void store_q8_0(std::span<const float> row, std::byte* to) {
  for (size_t first = 0; first < row.size(); first += 32, to += 34) {
    float largest = 0;
    for (size_t i = first; i < first + 32; ++i) largest = std::max(largest, std::fabs(row[i]));
    const Half step = to_half(largest / 127.0F);
    const float inverse = to_float(step) > 0 ? 1.0F / to_float(step) : 0.0F;
    std::memcpy(to, &step.bits, sizeof step.bits);
    for (size_t i = 0; i < 32; ++i) {
      const auto code = static_cast<int>(std::clamp(std::nearbyint(row[first + i] * inverse), -127.0F, 127.0F));
      to[2 + i] = std::byte(static_cast<uint8_t>(code));
    }
  }
}

}  // namespace

QuantizedTensor store_matrix(const std::string& name, const Matrix& m, DType dtype, ThreadPool& pool) {
  if (dtype == DType::kQ8_0 && m.columns % 32 != 0) dtype = DType::kF16;
  QuantizedTensor out{{name, dtype, {m.rows, m.columns}}, {}};
  const size_t stride = *row_bytes(dtype, m.columns);
  out.bytes.resize(stride * m.rows);
  pool.parallel_for(m.rows, [&](size_t r, int) {
    std::byte* to = out.bytes.data() + r * stride;
    if (dtype == DType::kQ8_0) return store_q8_0(m.span(r), to);
    for (size_t k = 0; k < m.columns; ++k) {
      const Half h = to_half(m.row(r)[k]);
      std::memcpy(to + 2 * k, &h.bits, sizeof h.bits);
    }
  });
  return out;
}

QuantizedTensor store_vector(const std::string& name, std::span<const float> v) {
  QuantizedTensor out{{name, DType::kF32, {v.size()}}, std::vector<std::byte>(v.size_bytes())};
  std::memcpy(out.bytes.data(), v.data(), v.size_bytes());
  return out;
}

Result<QuantizedLayer> quantize_layer(LayerUnderWork layer, LayerId id, const LayerRecipe& recipe,
                                      SequentialInputs* inputs, const Cancelled& cancelled, ThreadPool& pool) {
  LayerQuantizer quantizer(layer, recipe.config, recipe.scheme, recipe.steps, pool);
  LOCI_CHECK(quantizer.fold(id, recipe.rotation));
  if (inputs != nullptr) LOCI_CHECK(inputs->enter(id, layer.weights, cancelled));
  QuantizedLayer out;
  std::optional<LayerInput> followed;
  for (const Projection& projection : kProjections) {
    if (inputs != nullptr && followed != projection.input) {
      LOCI_CHECK(quantizer.follow(projection.input, *inputs, out.tensors, cancelled));
      followed = projection.input;
    }
    LOCI_TRY(QuantizedTensor tensor, quantizer.round(projection, layer_tensor(id, projection.name)));
    out.tensors.push_back(std::move(tensor));
  }
  for (const auto& [name, values] : layer.weights.vectors) {
    out.tensors.push_back(store_vector(layer_tensor(id, name), values));
  }
  if (inputs != nullptr) LOCI_CHECK(inputs->leave(LayerFile(out.tensors), cancelled));
  out.report = quantizer.report();
  return out;
}

Status pass_layer(LayerUnderWork layer, LayerId id, const LayerRecipe& recipe, const ModelFile& finished,
                  SequentialInputs& inputs, const Cancelled& cancelled, ThreadPool& pool) {
  LayerQuantizer quantizer(layer, recipe.config, recipe.scheme, recipe.steps, pool);
  LOCI_CHECK(quantizer.fold(id, recipe.rotation));
  LOCI_CHECK(inputs.enter(id, layer.weights, cancelled));
  return inputs.leave(finished, cancelled);
}

}  // namespace loci
