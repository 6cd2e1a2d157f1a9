#include "model/blocks.h"

#include <algorithm>
#include <array>

#include "ops/elementwise.h"
#include "ops/norm.h"

namespace loci {

namespace {

Result<std::optional<InputTurn>> turn_if(bool turns, uint32_t width) {
  std::optional<InputTurn> out;
  if (!turns) return out;
  LOCI_TRY(out, InputTurn::of_width(width));
  return out;
}

}  // namespace

std::string layer_tensor(LayerId layer, std::string_view name) { return fmt::format("blk.{}.{}", layer.value, name); }

Result<Norm> Norm::load(WeightLoader& weights, const ModelConfig& config, const std::string& name, uint32_t width) {
  Norm norm;
  norm.eps_ = config.norm_eps;
  LOCI_TRY(norm.weight_, weights.vector(name, width, config.norms_add_one ? 1.0F : 0.0F));
  return norm;
}

Rows Norm::operator()(Batch& batch, const Rows& x) const {
  Rows out = batch.take(x.width);
  rms_norm(batch.ops(), x, weight_, eps_, out);
  return out;
}

void Norm::in_place(Batch& batch, Rows x) const { rms_norm(batch.ops(), x, weight_, eps_, x); }

Result<Attention> Attention::load(WeightLoader& weights, const ModelConfig& config, LayerId layer, Options options) {
  Attention out;
  out.layer_ = layer;
  out.hidden_ = config.hidden;
  out.query_heads_ = config.query_heads;
  out.kv_heads_ = config.kv_heads;
  out.head_dim_ = config.head_dim;
  LOCI_TRY(out.turn_, turn_if(config.turns_inputs, config.hidden));
  LOCI_TRY(out.qkv_, weights.linear({{layer_tensor(layer, "attn_q.weight"), config.q_width(), config.hidden},
                                     {layer_tensor(layer, "attn_k.weight"), config.kv_width(), config.hidden},
                                     {layer_tensor(layer, "attn_v.weight"), config.kv_width(), config.hidden}}));
  LOCI_TRY(out.output_, weights.linear({{layer_tensor(layer, "attn_output.weight"), config.hidden, config.q_width()}}));
  if (options.biases) {
    LOCI_TRY(out.q_bias_, weights.vector(layer_tensor(layer, "attn_q.bias"), config.q_width()));
    LOCI_TRY(out.k_bias_, weights.vector(layer_tensor(layer, "attn_k.bias"), config.kv_width()));
    LOCI_TRY(out.v_bias_, weights.vector(layer_tensor(layer, "attn_v.bias"), config.kv_width()));
  }
  if (const std::string center = layer_tensor(layer, kKeyCenter); weights.has(center)) {
    LOCI_TRY(out.key_shift_, weights.vector(center, config.kv_width()));
    for (float& x : out.key_shift_) x = -x;
  }
  if (const std::string feedback = layer_tensor(layer, kKeyFeedback); weights.has(feedback)) {
    const uint32_t padded = page_layout(KvCodec::kKv4, config.head_dim).padded_dim;
    const auto size = static_cast<uint32_t>(config.kv_heads * feedback_size(padded));
    LOCI_TRY(const std::vector<float> shares, weights.vector(feedback, size));
    out.key_feedback_.emplace(shares, config.kv_heads, padded);
  }
  if (options.head_norms) {
    for (const char* name : {"attn_q_norm.weight", "attn_k_norm.weight"}) {
      LOCI_TRY(Norm norm, Norm::load(weights, config, layer_tensor(layer, name), config.head_dim));
      out.head_norms_.push_back(std::move(norm));
    }
  }
  return out;
}

Rows Attention::operator()(Batch& batch, Rows h) const {
  if (turn_) (*turn_)(batch.ops(), h);
  Rows q = batch.take(query_heads_ * head_dim_);
  Rows k = batch.take(kv_heads_ * head_dim_);
  Rows v = batch.take(kv_heads_ * head_dim_);
  std::array outputs{q, k, v};
  batch.show(layer_, LayerPoint::kAttentionInput, h);
  qkv_.project(batch.ops(), h, outputs);
  if (!q_bias_.empty()) {
    add_bias(batch.ops(), q, q_bias_);
    add_bias(batch.ops(), k, k_bias_);
    add_bias(batch.ops(), v, v_bias_);
  }
  if (!head_norms_.empty()) {
    head_norms_[0].in_place(batch, {q.data, q.rows * query_heads_, head_dim_, head_dim_});
    head_norms_[1].in_place(batch, {k.data, k.rows * kv_heads_, head_dim_, head_dim_});
  }
  batch.rotate(layer_, q, query_heads_);
  batch.rotate(layer_, k, kv_heads_);
  if (!key_shift_.empty()) add_bias(batch.ops(), k, key_shift_);
  batch.show(layer_, LayerPoint::kQueries, q);
  batch.show(layer_, LayerPoint::kKeys, k);
  batch.show(layer_, LayerPoint::kValues, v);
  const Rows mixed = batch.attend(layer_, q, k, v, key_feedback_ ? &*key_feedback_ : nullptr);
  batch.show(layer_, LayerPoint::kMixed, mixed);
  Rows out = batch.take(hidden_);
  output_.project(batch.ops(), mixed, out);
  return out;
}

Result<GatedFeedForward> GatedFeedForward::load(WeightLoader& weights, const ModelConfig& config, LayerId layer,
                                                Activation activation) {
  GatedFeedForward out;
  out.layer_ = layer;
  out.activation_ = activation;
  out.hidden_ = config.hidden;
  out.ffn_ = config.ffn;
  LOCI_TRY(out.turn_, turn_if(config.turns_inputs, config.hidden));
  LOCI_TRY(out.turn_gated_, turn_if(config.turns_gated, config.ffn));
  LOCI_TRY(out.gate_up_, weights.linear({{layer_tensor(layer, "ffn_gate.weight"), config.ffn, config.hidden},
                                         {layer_tensor(layer, "ffn_up.weight"), config.ffn, config.hidden}}));
  LOCI_TRY(out.down_, weights.linear({{layer_tensor(layer, "ffn_down.weight"), config.hidden, config.ffn}}));
  return out;
}

Rows GatedFeedForward::operator()(Batch& batch, Rows h) const {
  if (turn_) (*turn_)(batch.ops(), h);
  Rows gate = batch.take(ffn_);
  Rows up = batch.take(ffn_);
  std::array outputs{gate, up};
  batch.show(layer_, LayerPoint::kFeedForwardInput, h);
  gate_up_.project(batch.ops(), h, outputs);
  if (activation_ == Activation::kSilu) {
    silu_mul(batch.ops(), gate, up, gate);
  } else {
    gelu_tanh_mul(batch.ops(), gate, up, gate);
  }
  if (turn_gated_) (*turn_gated_)(batch.ops(), gate);
  batch.show(layer_, LayerPoint::kGated, gate);
  Rows out = batch.take(hidden_);
  down_.project(batch.ops(), gate, out);
  return out;
}

size_t layer_scratch_bytes(const ModelConfig& config, size_t rows, int threads, size_t executor_bytes) {
  const auto block = [&](size_t width) { return Workspace::bytes_of<float>(rows * width); };
  const size_t normed = block(config.hidden);
  const size_t qkv = block(config.q_width()) + 2 * block(config.kv_width());
  const size_t mixed = block(config.q_width());
  const size_t out = block(config.hidden);
  const size_t attention = normed + qkv + mixed + out +
                           std::max({executor_bytes, Linear::scratch_bound(rows, config.hidden, threads),
                                     Linear::scratch_bound(rows, config.q_width(), threads)});
  const size_t ffn =
      normed + 2 * block(config.ffn) + out +
      std::max(Linear::scratch_bound(rows, config.hidden, threads), Linear::scratch_bound(rows, config.ffn, threads));
  return std::max(attention, ffn);
}

}  // namespace loci
