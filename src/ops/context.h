// What every operation needs besides its operands: workers, instruction set, scratch.
#pragma once

#include "base/cpu.h"
#include "base/threads.h"
#include "tensor/workspace.h"

namespace loci {

struct OpContext {
  ThreadPool& pool;
  Isa isa;
  Workspace& scratch;
};

}  // namespace loci
