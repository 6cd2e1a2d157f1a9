// The parts that layers of the supported families are made of.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/batch.h"
#include "model/config.h"
#include "model/weight_loader.h"
#include "ops/linear.h"
#include "ops/turn.h"

namespace loci {

// "blk.3." + name: the tensors of layer 3.
std::string layer_tensor(LayerId layer, std::string_view name);

class Norm {
 public:
  static Result<Norm> load(WeightLoader& weights, const ModelConfig& config, const std::string& name, uint32_t width);
  // Normalised copy of x, in scratch.
  Rows operator()(Batch& batch, const Rows& x) const;
  void in_place(Batch& batch, Rows x) const;

 private:
  std::vector<float> weight_;
  float eps_ = 0;
};

// [kv_heads * head_dim], optional: is taken off rotated keys. Scores of a row all change by the same number, so
// attention stays what it is and keys take less room (docs/quantization.md).
inline constexpr const char* kKeyCenter = "attn_k.center";
// [kv_heads * padded head_dim * kCodeGroup], optional: by what 4-bit keys are rounded (key_rounding.h).
inline constexpr const char* kKeyFeedback = "attn_k.feedback";

// Grouped-query attention with rotary embedding: q, k, v, their optional biases and head norms, and the output
// projection.
class Attention {
 public:
  struct Options {
    bool biases = false;      // of q, k and v
    bool head_norms = false;  // RMS norms of q and k per head, before the rotation
  };

  static Result<Attention> load(WeightLoader& weights, const ModelConfig& config, LayerId layer, Options options);
  // h [rows, hidden], normalised, to [rows, hidden]. h may be turned.
  Rows operator()(Batch& batch, Rows h) const;

 private:
  LayerId layer_{0};
  uint32_t hidden_ = 0, query_heads_ = 0, kv_heads_ = 0, head_dim_ = 0;
  std::optional<InputTurn> turn_;
  Linear qkv_;
  Linear output_;
  std::vector<float> q_bias_, k_bias_, v_bias_;
  std::vector<float> key_shift_;  // none, or minus the keys' center
  std::optional<KeyFeedback> key_feedback_;
  std::vector<Norm> head_norms_;  // none, or of q and k
};

// down(activation(gate(h)) * up(h))
class GatedFeedForward {
 public:
  enum class Activation { kSilu, kGelu };

  static Result<GatedFeedForward> load(WeightLoader& weights, const ModelConfig& config, LayerId layer,
                                       Activation activation);
  // h may be turned.
  Rows operator()(Batch& batch, Rows h) const;

 private:
  LayerId layer_{0};
  Activation activation_ = Activation::kSilu;
  uint32_t hidden_ = 0, ffn_ = 0;
  std::optional<InputTurn> turn_, turn_gated_;
  Linear gate_up_;
  Linear down_;
};

// Scratch that one layer of these blocks takes at most.
size_t layer_scratch_bytes(const ModelConfig& config, size_t rows, int threads, size_t executor_bytes);

}  // namespace loci
