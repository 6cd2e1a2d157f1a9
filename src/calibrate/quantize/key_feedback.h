// By what 4-bit keys are rounded so that scores stay near (kernels/cpu/kv_codec/key_rounding.h), from a sample of
// queries.
#pragma once

#include <vector>

#include "base/error.h"
#include "calibrate/quantize/layer_weights.h"
#include "model/config.h"

namespace loci {

// [kv_heads * padded head_dim * kCodeGroup]: of each KV head and group of dimensions the shares that later dimensions
// take up of an earlier one's error, GPTQ's for the second moment of the queries that read the head. Queries of the
// sample count as if they stood evenly over the model's context, since a key is read from anywhere behind it: of pairs
// that turn often the directions cancel, so their errors make up for nothing. kCorrupt if queries are no numbers.
Result<std::vector<float>> key_feedback(const LayerStatistics& seen, const ModelConfig& config,
                                        const RopeFrequencies& rope);

}  // namespace loci
