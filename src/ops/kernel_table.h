// Which instruction set serves which operation: what `loci doctor` prints. The kernels choose by the same table.
#pragma once

#include <string>
#include <vector>

#include "base/cpu.h"

namespace loci {

struct KernelEntry {
  std::string operation;  // "linear", "rms_norm", ...
  std::string variant;    // the weight layout, or empty
  Isa isa;                // of the kernel that runs
};

// Every operation of src/ops on a context with this instruction set.
std::vector<KernelEntry> kernel_table(Isa isa);

}  // namespace loci
