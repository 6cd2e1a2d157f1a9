// How far off attention is when keys and values are stored in few bits: what SmoothAttention is for, and judged by.
#pragma once

#include "calibrate/quantize/layer_weights.h"
#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

// |o - o'| / |o| over rows of the second half of the sampled tokens, all heads; o' reads keys, and values if `values`,
// as `codec` stores them. 0 without a sample.
double attention_error(const LayerStatistics& seen, const ModelConfig& config, KvCodec codec, bool values,
                       ThreadPool& pool);

// The largest span of a key channel over the median one of its head, the largest over the heads: how much outlier
// channels stick out.
double key_outliers(const LayerStatistics& seen, const ModelConfig& config);

}  // namespace loci
