// The combinations of codec, head width and instruction set that the executor serves: what `loci doctor` prints. What
// is not in the table is refused when an engine is laid out.
#pragma once

#include <vector>

#include "ops/kernel_table.h"

namespace loci {

std::vector<KernelEntry> attention_table(Isa isa);

}  // namespace loci
