// The registry lines of the methods that answer `select`.
#pragma once

#include <memory>

#include "attention/registry/method.h"
#include "attention/stages/stage.h"

namespace loci {

extern const Method kFlexPrefill;
extern const Method kAnchor;
extern const Method kTokenSelect;
extern const Method kRecycled;

}  // namespace loci
