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
// go away again, but for the last, which is the recipe's own.
class Ladder {
 public:
  // What is given outlives the ladder.
  Ladder(ModelQuantizer& quantizer, const QuantizeRun& recipe, const LadderText& text, int threads,
         const Console& console)
      : quantizer_(quantizer), recipe_(recipe), text_(text), threads_(threads), console_(console) {}

  // All rungs but the last; `model` is what is quantized.
  Status climb(const std::filesystem::path& model);
  // The last, once the recipe's output has been written.
  Status arrive();

  const std::vector<Rung>& rungs() const { return rungs_; }

 private:
  void add(const std::string& name, const QuantScheme& scheme, const QuantSteps& steps, std::vector<float> nll);

  ModelQuantizer& quantizer_;
  const QuantizeRun& recipe_;
  const LadderText& text_;
  int threads_;
  const Console& console_;
  std::vector<float> own_, before_;  // by token: the model's own, and the rung's before
  std::string last_;
  std::vector<Rung> rungs_;
};

std::string ladder_table(const std::vector<Rung>& rungs);

}  // namespace loci
