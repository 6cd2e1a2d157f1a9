#include "calibrate/quantize/layer_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "calibrate/quantize/attention_error.h"
#include "calibrate/quantize/rounding.h"
#include "calibrate/quantize/sequential.h"
#include "model/blocks.h"

namespace loci {
namespace {

constexpr double kUnchanged = -1;
constexpr double kKeyAlphas[] = {0.25, 0.5, 0.75};
constexpr double kBalanceAlphas[] = {0.125, 0.25, 0.375, 0.5};
constexpr double kOutputAlphas[] = {0, 0.05, 0.1, 0.15, 0.2, 0.3};

// Of the gram matrix's mean diagonal. With GPTQ's 0.01 the corrections make SmolLM2 worse, not better
// (docs/quantization.md).
constexpr double kCorrectionDamping = 0.5;
constexpr int kRefiningPasses = 4;  // what a fifth changes is not worth its time

// "attn_q.weight" -> "attn_q"
std::string short_name(const std::string& name) { return name.substr(0, name.find('.')); }

class LayerQuantizer {
 public:
  LayerQuantizer(LayerUnderWork& layer, const ModelConfig& config, const QuantScheme& scheme, const QuantSteps& steps,
                 ThreadPool& pool)
      : layer_(layer), config_(config), scheme_(scheme), steps_(steps), pool_(pool) {}

  void fold(const Rotation* rotation) {
    if (rotation != nullptr) {
      fold_norms(layer_);
      rotate_stream(layer_, *rotation, pool_);
    }
    if (steps_.smooth_attention) smooth_attention();
    if (steps_.smooth_outputs) smooth_outputs();
    if (steps_.rotate_values) rotate_values(layer_, Rotation(config_.head_dim), pool_);
    if (steps_.reorder) reorder();
    if (!layer_.seen.keys.empty()) {
      report_["attention.error"] = attention_error(layer_.seen, config_, scheme_.store, true, pool_);
    }
  }

  // What the projections of an input are rounded for: its gram matrix, and by what they are corrected before.
  Status follow(LayerInput input, SequentialInputs& inputs, std::span<const QuantizedTensor> rounded,
                const Cancelled& cancelled) {
    LOCI_TRY(FollowedInput followed, inputs.follow(input, rounded, cancelled));
    LOCI_TRY(correction_, solve_damped(followed.gram, kCorrectionDamping, followed.shift));
    layer_.seen.gram(input) = std::move(followed.gram);
    return {};
  }

  Result<QuantizedTensor> round(const Projection& projection, const std::string& name) {
    Matrix w = layer_.weights.at(projection.name);
    if (!correction_.empty()) add_times(w, correction_, pool_);
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
      refine(w, gram, kRefiningPasses, rounded, pool_);
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
  // What rounding to nearest would make of a projection's outputs.
  double nearest_error(const char* name, LayerInput input) const {
    const Matrix& w = layer_.weights.at(name);
    const std::optional<DType> dtype = scheme_.weight_format(w.columns);
    if (!dtype || *dtype == DType::kF16) return 0;
    const RoundedMatrix rounded = round_to_nearest(w, *dtype, full_grids(w, *dtype, scheme_.group, pool_), pool_);
    return gram_norm(rounding_error(w, rounded, pool_), layer_.seen.gram(input), pool_);
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
      tried.seen.key_spans = layer_.seen.key_spans;
      tried.seen.queries = layer_.seen.queries;
      tried.seen.keys = layer_.seen.keys;
      tried.seen.values = layer_.seen.values;
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

  // Behind the balance values of a head can be turned: nothing sticks out then, and there is nothing to search.
  void smooth_outputs() {
    if (steps_.rotate_values) {
      smooth_mixed(layer_, config_, mixed_balance(layer_, config_));
      report_["alpha.mixed"] = 0.5;
    } else {
      report_["alpha.mixed"] = best_alpha(
          "attn_output.weight", LayerInput::kMixed,
          [&](LayerUnderWork& l, double alpha) { smooth_mixed(l, config_, mixed_smoothing(l, config_, alpha)); });
    }
    report_["alpha.gated"] = best_alpha("ffn_down.weight", LayerInput::kGated, [&](LayerUnderWork& l, double alpha) {
      smooth_gated(l, gated_smoothing(l, alpha));
    });
  }

  double best_alpha(const char* name, LayerInput input, const std::function<void(LayerUnderWork&, double)>& smooth) {
    double least = nearest_error(name, input), best = kUnchanged;
    if (least == 0) return best;
    const LayerUnderWork before = layer_;
    for (const double alpha : kOutputAlphas) {
      smooth(layer_, alpha);
      const double error = nearest_error(name, input);
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
    reorder_gated(layer_, gated_order(layer_));
  }

  LayerUnderWork& layer_;
  const ModelConfig& config_;
  const QuantScheme& scheme_;
  const QuantSteps& steps_;
  ThreadPool& pool_;
  Matrix correction_;  // of the input that is followed: weights W become W + W correction
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
  quantizer.fold(recipe.rotation);
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
  quantizer.fold(recipe.rotation);
  LOCI_CHECK(inputs.enter(id, layer.weights, cancelled));
  return inputs.leave(finished, cancelled);
}

}  // namespace loci
