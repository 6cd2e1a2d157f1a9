// How much each KV head needs its whole cache: an estimate of DuoAttention's gates without gradients. Xiao et al.,
// DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads, arXiv:2410.10819, section 2.3.
//
// The paper learns the gates by backpropagation through the whole network. Here each head is taken out instead: the
// loss when it alone streams, and the loss that it alone takes back when all stream. Their mean is what a head is worth
// at both ends of any order in which heads are made to stream; two heads that replace each other count at the second
// end, heads that need each other at the first. 2 * heads + 1 losses a needle. docs/formats/profile.md says what is
// lost.
#pragma once

#include <memory>
#include <vector>

#include "calibrate/ablation.h"
#include "calibrate/calibration.h"

namespace loci {

struct DuoOptions {
  Pattern pattern{.sinks = 64, .window = 256};
  uint32_t answer_tokens = 16;
  std::map<std::string, double> settings;
};

// A piece per needle. Profile: "gate" in [0, 1], and what it is made of: "alone" and "last", nats; [layers][KV heads].
std::unique_ptr<Calibration> duo(Subject& subject, std::vector<Needle> needles, DuoOptions options);

}  // namespace loci
