// loci calibrate, which talks to src/calibrate where the public API has no answer.
#pragma once

#include "cli/commands.h"

namespace loci {

void add_calibrate(const Command& app, Choice& choice);

}  // namespace loci
