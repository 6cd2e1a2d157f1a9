// Two older retrieval tasks: the pass key (landmark attention's form) and the key-value pairs of InfiniteBench.
#pragma once

#include "eval/suite.h"

namespace loci {

// Unit: a character of the garbage, which is cut where the count falls.
Sample passkey(const SampleInput& input);
// Unit: a pair of uuids.
Sample key_value(const SampleInput& input);

}  // namespace loci
