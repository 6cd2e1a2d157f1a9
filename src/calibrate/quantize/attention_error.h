// How far off attention is when keys and values are stored in few bits: what SmoothAttention is for, and judged by.
#pragma once

#include <vector>

#include "calibrate/quantize/layer_weights.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// By KV head: |o - o'|^2 and |o|^2 of attention_error, summed.
struct AttentionErrors {
  std::vector<double> off, size;

  double share() const;  // of all heads together: |o - o'| / |o|; 0 without a sample
};
// `feedback`: by what 4-bit keys are rounded, or null (key_feedback.h).
AttentionErrors attention_errors(const LayerStatistics& seen, const ModelConfig& config, KvCodec codec, bool values,
                                 ThreadPool& pool, const std::vector<float>* feedback = nullptr);

// |o - o'| / |o| over rows of the second half of each sampled piece, all heads; o' reads keys, and values if `values`,
// as `codec` stores them. 0 without a sample.
double attention_error(const LayerStatistics& seen, const ModelConfig& config, KvCodec codec, bool values,
                       ThreadPool& pool, const std::vector<float>* feedback = nullptr);

// The largest span of a key channel over the median one of its head, the largest over the heads: how much outlier
// channels stick out.
double key_outliers(const LayerStatistics& seen, const ModelConfig& config);

}  // namespace loci
