// The registry lines of the methods that answer `retain`.
#pragma once

#include <memory>

#include "attention/registry/method.h"
#include "attention/stages/stage.h"

namespace loci {

extern const Method kStreaming;
extern const Method kSnapKv;
extern const Method kDuo;
extern const Method kRazor;
extern const Method kMoa;
extern const Method kTaskKv;

}  // namespace loci
