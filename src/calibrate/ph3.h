// Which heads write the remembered answer and which copy the one in the prompt, where the two contradict each other.
// Jin et al., Cutting Off the Head Ends the Conflict, arXiv:2402.18154, section 4: path patching.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/calibration.h"

namespace loci {

struct Fact {
  std::string subject;  // "France"
  std::string object;   // "Paris"
};

struct Ph3Calibration {
  uint32_t prompts = 16;
  uint64_t seed = 0;
  // The text of a fact, "{}" for its subject, up to where its object begins.
  std::string relation = "The name of the capital city of {} is";
  std::map<std::string, double> settings;
};

// A piece per prompt "FACT with a wrong object. FACT up to its object". Each head's output at the last token is
// replaced by that of a prompt about another subject while all other heads' outputs stay: only the head's direct path
// to the answer changes. Prompts whose fact the model does not know without the context do not count. Profile: "memory"
// and "context" [layers][query heads], the differences of the two answers' probabilities; setting "known".
std::unique_ptr<Calibration> ph3(Subject& subject, std::vector<Fact> facts, Ph3Calibration options);

}  // namespace loci
