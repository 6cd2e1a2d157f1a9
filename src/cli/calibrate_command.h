// loci calibrate and loci quantize, which talk to src/calibrate where the public API has no answer.
#pragma once

#include "cli/commands.h"

namespace loci {

void add_calibrate(const Command& app, Choice& choice);
void add_quantize(const Command& app, Choice& choice);

}  // namespace loci
