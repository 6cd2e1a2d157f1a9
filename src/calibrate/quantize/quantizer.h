// Quantizes a model, layer by layer: measures what its inputs are like, folds, rounds, writes.
//
// Memory: the model as the engine holds it, the statistics of as many layers as kStatisticsBytes hold, one layer in
// fp32, and where layers are followed, what sequential.h says. Statistics are kept from run to run, so that several
// recipes cost one reading of the text where all layers fit. One thread at a time.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attention/plan/plan.h"
#include "calibrate/quantize/quantized_file.h"
#include "calibrate/quantize/statistics.h"

namespace loci {

inline constexpr uint64_t kStatisticsBytes = uint64_t{512} << 20;

struct CalibrationText {
  std::vector<std::vector<TokenId>> sequences;
  std::string name;  // with the text's hash: what the file says

  uint64_t tokens() const;
};

struct QuantizeRun {
  QuantScheme scheme;
  QuantSteps steps;
  DType embeddings = DType::kQ8_0;
  std::string store;  // a plan's store clause for a cache that differs by layer; empty: the scheme's everywhere
  std::filesystem::path output;
  std::string command;
  Cancelled cancelled;
  std::function<void(double share)> on_share;
};

struct QuantizeSummary {
  uint32_t resumed = 0;  // layers that an earlier run had finished
  std::string notes;
};

class ModelQuantizer {
 public:
  // `text` may be empty if no run needs statistics.
  static Result<std::unique_ptr<ModelQuantizer>> open(const std::filesystem::path& path, CalibrationText text,
                                                      int threads, std::function<bool(double share)> on_load);

  // Writes run.output. kCancelled keeps the finished layers for the next run with the same recipe, which ends with the
  // same bytes.
  Result<QuantizeSummary> run(const QuantizeRun& run);

  const ModelConfig& config() const { return config_; }
  // Whether the model's residual stream lets itself be rotated; where not, `rotate` does nothing.
  bool can_rotate() const;

 private:
  ModelQuantizer() = default;

  std::string identity(const QuantizeRun& run, const AttentionPlan& store) const;
  Result<LayerStatistics> statistics(uint32_t layer, const QuantizeRun& run,
                                     const std::function<void(double)>& on_share);
  Status quantize_layers(const QuantizeRun& run, const AttentionPlan& store, const ModelConfig& config,
                         const PartFolder& parts, const Rotation* rotation, QuantizeSummary& summary);

  std::unique_ptr<ModelFile> file_;
  std::string fingerprint_;
  ModelConfig config_;
  CalibrationText text_;
  std::unique_ptr<ThreadPool> own_pool_;  // where no subject has one
  std::unique_ptr<Subject> subject_;      // reads the text; none if there is none
  uint32_t first_measured_ = 0;
  size_t measured_sequences_ = 0;
  std::vector<LayerStatistics> measured_;
};

}  // namespace loci
