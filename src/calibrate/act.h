// In which heads ACT helps. Yu et al., Unveiling and Harnessing Hidden Attention Sinks, arXiv:2406.15765, section 4.2.
//
// The labelled set are needles: the right answer is known word by word. Each head is tried alone. The context is read
// once, as it is, and its sinks noted for all heads; ACT acts in the rows of question and answer, so a head costs a
// pass over those. Accuracy of so few prompts would hardly move: the score is the mean log-probability of the right
// tokens.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "calibrate/calibration.h"
#include "calibrate/needle.h"

namespace loci {

// A piece per needle. Profile: "gain" [layers][query heads], nats a token by which the right answer becomes likelier; 0
// in the first two layers, the last one and those with a window of the model's own, which stay as they are.
Result<std::unique_ptr<Calibration>> act(Subject& subject, std::vector<Needle> needles,
                                         std::map<std::string, double> settings);

}  // namespace loci
