#include "calibrate/quantize/layer_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "calibrate/quantize/attention_error.h"
#include "calibrate/quantize/rounding.h"
#include "model/blocks.h"

namespace loci {
namespace {

constexpr double kUnchanged = -1;
constexpr double kKeyAlphas[] = {0.25, 0.5, 0.75};
constexpr double kOutputAlphas[] = {0, 0.05, 0.1, 0.15, 0.2, 0.3};

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
    if (steps_.reorder) reorder();
    if (!layer_.seen.keys.empty()) {
      report_["attention.error"] = attention_error(layer_.seen, config_, scheme_.store, true, pool_);
    }
  }

  Result<QuantizedTensor> round(const Projection& projection, const std::string& name) {
    const Matrix& w = layer_.weights.at(projection.name);
    const std::optional<DType> dtype = scheme_.weight_format(w.columns);
    if (!dtype || *dtype == DType::kF16) return store_matrix(name, w, DType::kF16, pool_);
    const Matrix& gram = layer_.seen.gram(projection.input);
    std::vector<RowGrid> grids = steps_.clip ? clipped_grids(w, *dtype, scheme_.group, gram, pool_)
                                             : full_grids(w, *dtype, scheme_.group, pool_);
    RoundedMatrix rounded;
    if (steps_.compensate) {
      Result<RoundedMatrix> compensated = round_compensated(w, *dtype, std::move(grids), gram, pool_);
      if (!compensated.ok()) return fail(compensated.error().code, "{}: {}", name, compensated.error().message);
      rounded = std::move(compensated).value();
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

  // The exponent whose error, measured on a copy of what the step changes, is below that of changing nothing.
  void smooth_attention() {
    report_["keys.outliers"] = key_outliers(layer_.seen, config_);
    report_["attention.key_error.before"] = attention_error(layer_.seen, config_, scheme_.store, false, pool_);
    double least = report_["attention.key_error.before"], best = kUnchanged;
    for (const double alpha : kKeyAlphas) {
      LayerUnderWork tried;
      tried.weights.vectors = layer_.weights.vectors;
      for (const char* name : {"attn_q.weight", "attn_k.weight"})
        tried.weights.matrices[name] = layer_.weights.at(name);
      tried.seen.key_spans = layer_.seen.key_spans;
      tried.seen.queries = layer_.seen.queries;
      tried.seen.keys = layer_.seen.keys;
      tried.seen.values = layer_.seen.values;
      smooth_keys(tried, config_, key_smoothing(tried, config_, alpha));
      const double error = attention_error(tried.seen, config_, scheme_.store, false, pool_);
      if (error < least) {
        least = error;
        best = alpha;
      }
    }
    if (best != kUnchanged) smooth_keys(layer_, config_, key_smoothing(layer_, config_, best));
    report_["alpha.keys"] = best;
    report_["attention.key_error.after"] = least;
  }

  void smooth_outputs() {
    report_["alpha.mixed"] = best_alpha("attn_output.weight", LayerInput::kMixed, [&](LayerUnderWork& l, double alpha) {
      smooth_mixed(l, config_, mixed_smoothing(l, config_, alpha));
    });
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

  // Columns change their groups within a head, so only groups narrower than a head see it.
  void reorder() {
    const std::optional<DType> mixed = scheme_.weight_format(config_.q_width());
    if (mixed && is_row_scaled(*mixed) && step_group(*mixed) > 0 && step_group(*mixed) < config_.head_dim) {
      reorder_mixed(layer_, config_, mixed_order(layer_, config_));
    }
    reorder_gated(layer_, gated_order(layer_));
  }

  LayerUnderWork& layer_;
  const ModelConfig& config_;
  const QuantScheme& scheme_;
  const QuantSteps& steps_;
  ThreadPool& pool_;
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

Result<QuantizedLayer> quantize_layer(LayerUnderWork layer, LayerId id, const ModelConfig& config,
                                      const QuantScheme& scheme, const QuantSteps& steps, const Rotation* rotation,
                                      ThreadPool& pool) {
  LayerQuantizer quantizer(layer, config, scheme, steps, pool);
  quantizer.fold(rotation);
  QuantizedLayer out;
  for (const Projection& projection : kProjections) {
    LOCI_TRY(QuantizedTensor tensor, quantizer.round(projection, layer_tensor(id, projection.name)));
    out.tensors.push_back(std::move(tensor));
  }
  for (const auto& [name, values] : layer.weights.vectors) {
    out.tensors.push_back(store_vector(layer_tensor(id, name), values));
  }
  out.report = quantizer.report();
  return out;
}

}  // namespace loci
