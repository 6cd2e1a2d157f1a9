// loci quantize --ladder: what each step of the recipe does to a model's perplexity.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/quantize/quantizer.h"
#include "cli/console.h"

namespace loci {

struct Rung {
  std::string name = {};  // "+ rotate"
  std::string scheme = {};
  std::string group = {};
  std::string steps = {};
  double mean_nll = 0;
  double rise = 0;   // of the perplexity over the model's own, as a share
  double noise = 0;  // standard error of the difference of mean_nll from the rung before
};

struct LadderText {
  std::vector<TokenId> tokens;  // not those of the calibration
  uint32_t window = 0;
};

// The model as it is, with a 16-bit cache; 4-bit weights with 16-bit activations; plain rounding without and with the
// scheme's cache; then the recipe's steps, one more each time, each quantized in full beside `output` and scored. Files
// go away again.
Result<std::vector<Rung>> climb(ModelQuantizer& quantizer, const QuantizeRun& recipe,
                                const std::filesystem::path& model, const LadderText& text, int threads,
                                const Console& console);

std::string ladder_table(const std::vector<Rung>& rungs);

}  // namespace loci
