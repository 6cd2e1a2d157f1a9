// Measures the inputs of a model's layers on calibration text, some layers at a time, so that memory stays within a
// budget: each time the text is read again.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "calibrate/quantize/layer_weights.h"
#include "calibrate/subject.h"

namespace loci {

// Of how many sequences, and of how many tokens of each, queries, keys and values are kept.
inline constexpr uint32_t kSamplePieces = 4;
inline constexpr uint32_t kSampleTokens = 512;
// Rows of each input that are kept: so many of a sequence, evenly, of the first sequences.
inline constexpr uint32_t kRowsOfSequence = 32;
inline constexpr uint32_t kInputRows = 256;

// Bytes that the statistics of a layer take.
uint64_t statistics_bytes(const ModelConfig& config);

// Statistics of layers [first, first + count): sums over all sequences, each read from its beginning. The same numbers
// whatever other layers are asked for. `on_share` takes the share done.
Result<std::vector<LayerStatistics>> measure_layers(Subject& subject, std::span<const std::vector<TokenId>> sequences,
                                                    uint32_t first, uint32_t count, const Cancelled& cancelled,
                                                    const std::function<void(double share)>& on_share);

}  // namespace loci
