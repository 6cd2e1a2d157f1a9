// A span for each KV head, alpha + beta * N at length N: MoA without gradients. Fu et al., MoA: Mixture of Sparse
// Attention for Automatic Large Language Model Compression, arXiv:2406.14909, section 4.
//
// The paper weighs what a span loses by the gradient of the loss with respect to every attention weight. Here the loss
// is measured (ablation.h) when heads see 64 sinks and the rest of a span, at eighths of two lengths: the mean of the
// loss when the head alone does, and of what the loss falls by when it alone does not, as in duo.h; heads that replace
// each other cost nothing alone. Rows of text count beside answers, as the paper's summaries do. span_rules.h chooses
// under the bound.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/ablation.h"
#include "calibrate/calibration.h"

namespace loci {

struct MoaOptions {
  uint32_t shorter = 1024;  // the other length is twice that
  double density = 0.5;     // bound of the mean span, as a share of the length
  Ablation::Options judged = {.text_rows = 64};
  std::map<std::string, double> settings;
};

// A piece per needle; `needles` are in turns of the shorter and the longer length. Profile: "alpha" and "beta"
// [layers][KV heads], at most two pairs a layer; zeros in layers with a window of the model's own.
std::unique_ptr<Calibration> moa(Subject& subject, std::vector<Needle> needles, MoaOptions options);

}  // namespace loci
