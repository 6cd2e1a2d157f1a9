// The registry lines of the methods that answer `select`.
#pragma once

#include "attention/registry/method.h"
#include "attention/stages/stage.h"

namespace loci {

extern const Method kFlexPrefill;
extern const Method kAnchor;

}  // namespace loci
