// Changes of a layer's weights that leave its outputs as they are: QServe's steps B1 to B4 (arXiv:2405.04532, section
// 5). Each changes the weights and what has been measured of their inputs together, so that the next step sees both
// as they are now. Numbers are fp32, sums of rotations double.
#pragma once

#include <span>
#include <vector>

#include "calibrate/quantize/layer_weights.h"
#include "calibrate/quantize/rotation.h"

namespace loci {

struct LayerUnderWork {
  LayerWeights weights;
  LayerStatistics seen;
};

// The gains of the norms before attention and feed-forward move into the matrices behind them.
void fold_norms(LayerUnderWork& layer);

// The residual stream becomes x R: what reads it turns its rows, what writes it its columns. Norms have been folded.
void rotate_stream(LayerUnderWork& layer, const Rotation& rotation, ThreadPool& pool);
// Whether a layer's additions to the stream may be rotated: not with norms behind its blocks, whose gains stand in
// between.
bool stream_rotates(const LayerWeights& weights);

// Values of every KV head are turned by `rotation` [head_dim], and the columns of the output projection that read them.
void rotate_values(LayerUnderWork& layer, const Rotation& rotation, ThreadPool& pool);

// `center` [kv_heads * head_dim] is taken off rotated keys before they are stored: a row's scores all change by the
// same number, which softmax does not see (SageAttention smooths keys so, arXiv:2410.02367, section 4.2).
void center_keys(LayerUnderWork& layer, std::span<const float> center);
// The mean of the sample's keys if they stood at each of the positions [0, positions): nothing in pairs that turn
// often.
std::vector<float> key_center(const LayerUnderWork& layer, const ModelConfig& config, const RopeFrequencies& rope,
                              uint32_t positions);

// Keys are divided by `lambda` [kv_heads * head_dim], queries multiplied: q.k stays, since both members of a rotary
// pair share their number.
void smooth_keys(LayerUnderWork& layer, const ModelConfig& config, std::span<const float> lambda);
// lambda = (largest |key| of the pair)^alpha; equal over the heads where norms of the heads hold the numbers.
std::vector<float> key_smoothing(const LayerUnderWork& layer, const ModelConfig& config, double alpha);
// lambda = (key / query)^alpha, of root mean squares over the sample and the pair. Where rounding spreads evenly over a
// head, scores are off by sum (lambda query)^2 * sum (key / lambda)^2, which is least for alpha = 1/2.
std::vector<float> key_balance(const LayerUnderWork& layer, const ModelConfig& config, double alpha);

// Columns of the output projection are multiplied by `scale`, rows of v divided: [kv_heads * head_dim], shared by the
// query heads that read a KV head.
void smooth_mixed(LayerUnderWork& layer, const ModelConfig& config, std::span<const float> scale);
// Columns of down are multiplied by `scale` [ffn], rows of up divided.
void smooth_gated(LayerUnderWork& layer, std::span<const float> scale);
// max|x|^alpha / max|w|^(1 - alpha), by column of the output projection (folded to KV heads) or of down.
std::vector<float> mixed_smoothing(const LayerUnderWork& layer, const ModelConfig& config, double alpha);
// (input / weights)^(1/2), of root mean squares by column of the output projection: likewise least where the rounding
// of inputs, values and weights spreads evenly over a head, as behind rotate_values.
std::vector<float> mixed_balance(const LayerUnderWork& layer, const ModelConfig& config);
std::vector<float> gated_smoothing(const LayerUnderWork& layer, double alpha);

// The gain of the norm in front of q, k and v, or of gate and up, is divided by `scale` [hidden], and their columns are
// multiplied: what a stream that is not rotated has instead. Numbers as above, over all matrices that share the input.
void smooth_input(LayerUnderWork& layer, LayerInput input, std::span<const float> scale);
std::vector<float> input_smoothing(const LayerUnderWork& layer, LayerInput input, double alpha);

// What multiplies `input` reads it turned by `rotation`, whose signs move into what makes the input, the norm's gain or
// the rows of up; the engine does the rest (ops/turn.h). Of kAttention, kFeedForward and kGated.
void turn_input(LayerUnderWork& layer, LayerInput input, const Rotation& rotation, ThreadPool& pool);
// (input / weights)^alpha by column, of root mean squares; weights count by what share of their outputs they make.
// Behind turning, rounding spreads evenly over a row, so that outputs are off least at 1/2.
std::vector<float> input_balance(const LayerUnderWork& layer, LayerInput input, double alpha);

// Column order[i] of the output projection becomes column i, within each KV head: [kv_heads * head_dim], each head's
// entries within the head. The same for down: [ffn].
void reorder_mixed(LayerUnderWork& layer, const ModelConfig& config, std::span<const uint32_t> order);
void reorder_gated(LayerUnderWork& layer, std::span<const uint32_t> order);
// Columns by descending largest |x|, so that those that matter alike share a group.
std::vector<uint32_t> mixed_order(const LayerUnderWork& layer, const ModelConfig& config);
std::vector<uint32_t> gated_order(const LayerUnderWork& layer);

}  // namespace loci
