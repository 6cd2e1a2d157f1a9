#include "calibrate/quantize/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace loci {
namespace {

class InputMeter final : public Tap {
 public:
  InputMeter(const ModelConfig& config, ThreadPool& pool, uint32_t first, uint32_t count, uint32_t piece_rows)
      : config_(config), pool_(pool), first_(first), layers_(count), piece_rows_(piece_rows) {
    const size_t widths[kLayerInputs] = {config.hidden, config.q_width(), config.hidden, config.ffn};
    for (LayerStatistics& layer : layers_) {
      layer.piece_rows = piece_rows;
      for (size_t i = 0; i < kLayerInputs; ++i) {
        layer.grams[i] = Matrix(widths[i], widths[i]);
        layer.spans[i].resize(widths[i]);
      }
      layer.key_low.assign(config.kv_width(), std::numeric_limits<float>::max());
      layer.key_high.assign(config.kv_width(), std::numeric_limits<float>::lowest());
    }
  }

  void on_rows(LayerId id, LayerPoint point, const Rows& x) override {
    if (id.value < first_ || id.value >= first_ + layers_.size()) return;
    LayerStatistics& layer = layers_[id.value - first_];
    switch (point) {
      case LayerPoint::kAttentionInput:
        return add(layer, LayerInput::kAttention, x);
      case LayerPoint::kMixed:
        return add(layer, LayerInput::kMixed, x);
      case LayerPoint::kFeedForwardInput:
        return add(layer, LayerInput::kFeedForward, x);
      case LayerPoint::kGated:
        return add(layer, LayerInput::kGated, x);
      case LayerPoint::kQueries:
        return keep(layer.queries, x);
      case LayerPoint::kKeys:
        widen(layer.key_low, layer.key_high, x);
        return keep(layer.keys, x);
      case LayerPoint::kValues:
        return keep(layer.values, x);
    }
  }

  void begin_sequence() { ++sequence_; }

  std::vector<LayerStatistics> take() {
    for (LayerStatistics& layer : layers_) {
      for (Matrix& gram : layer.grams) mirror(gram);
    }
    return std::move(layers_);
  }

 private:
  static void widen(std::vector<float>& span, const Rows& x) {
    for (uint32_t r = 0; r < x.rows; ++r) {
      for (uint32_t k = 0; k < x.width; ++k) span[k] = std::max(span[k], std::fabs(x.row(r)[k]));
    }
  }

  static void widen(std::vector<float>& low, std::vector<float>& high, const Rows& x) {
    for (uint32_t r = 0; r < x.rows; ++r) {
      for (uint32_t k = 0; k < x.width; ++k) {
        low[k] = std::min(low[k], x.row(r)[k]);
        high[k] = std::max(high[k], x.row(r)[k]);
      }
    }
  }

  void add(LayerStatistics& layer, LayerInput input, const Rows& x) {
    add_gram(x, layer.gram(input), pool_);
    widen(layer.span(input), x);
    Matrix& kept = layer.some_rows(input);
    kept.columns = x.width;
    const uint32_t stride = std::max(1u, x.rows / kRowsOfSequence);
    for (uint32_t r = 0; r < x.rows && kept.rows < kInputRows; r += stride, ++kept.rows) {
      kept.data.insert(kept.data.end(), x.row(r), x.row(r) + x.width);
    }
  }

  // The first rows of the first sequences, whose lengths are equal.
  void keep(Matrix& to, const Rows& x) const {
    if (sequence_ > kSamplePieces) return;
    to.columns = x.width;
    for (uint32_t r = 0; r < x.rows && to.rows < sequence_ * piece_rows_; ++r, ++to.rows) {
      to.data.insert(to.data.end(), x.row(r), x.row(r) + x.width);
    }
  }

  const ModelConfig& config_;
  ThreadPool& pool_;
  uint32_t first_;
  uint32_t sequence_ = 0;  // counts from 1
  std::vector<LayerStatistics> layers_;
  uint32_t piece_rows_;
};

}  // namespace

uint64_t statistics_bytes(const ModelConfig& config) {
  const auto square = [](uint64_t n) { return n * n; };
  const uint64_t grams = 2 * square(config.hidden) + square(config.q_width()) + square(config.ffn);
  const uint64_t sample = uint64_t{kSamplePieces} * kSampleTokens * (config.q_width() + 2 * config.kv_width());
  const uint64_t rows = uint64_t{kInputRows} * (2 * config.hidden + config.q_width() + config.ffn);
  return (grams + sample + rows) * sizeof(float);
}

Result<std::vector<LayerStatistics>> measure_layers(Subject& subject, std::span<const std::vector<TokenId>> sequences,
                                                    uint32_t first, uint32_t count, const Cancelled& cancelled,
                                                    const std::function<void(double share)>& on_share) {
  const size_t length = sequences.empty() ? 0 : std::min<size_t>(sequences.front().size(), kSampleTokens);
  InputMeter meter(subject.core().model().config(), subject.core().threads(), first, count,
                   static_cast<uint32_t>(length));
  subject.listen(&meter);
  Status read;
  for (size_t i = 0; i < sequences.size() && read.ok(); ++i) {
    meter.begin_sequence();
    Sequence sequence = subject.begin(sequences[i]);
    read = subject.feed(sequence, static_cast<uint32_t>(sequences[i].size()), cancelled);
    on_share(static_cast<double>(i + 1) / static_cast<double>(sequences.size()));
  }
  subject.listen(nullptr);
  if (!read.ok()) return read.error();
  return meter.take();
}

}  // namespace loci
