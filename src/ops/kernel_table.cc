#include "ops/kernel_table.h"

#include <algorithm>

#include "kernels/cpu/gemm/layout.h"

namespace loci {

std::vector<KernelEntry> kernel_table(Isa isa) {
  const Isa vectors = std::min(isa, Isa::kAvx512);  // the matrix unit only multiplies
  std::vector<KernelEntry> table;
  for (WeightLayout layout : all_layouts()) {
    const bool tiles = isa == Isa::kAmx && info(layout).integer;
    table.push_back({"linear", std::string(info(layout).name) + (tiles ? ", 16 rows at a time; fewer: avx512" : ""),
                     tiles ? isa : vectors});
  }
  table.push_back({"round activations", "one or two int8 terms x 32", vectors});
  table.push_back({"rms_norm", "", vectors});
  table.push_back({"rotate", "adjacent", vectors});
  table.push_back({"rotate", "halves", vectors});
  table.push_back({"turn", "", vectors});
  table.push_back({"silu_mul", "", vectors});
  table.push_back({"gelu_tanh_mul", "", vectors});
  // Bound by memory or small: the compiler's code serves every instruction set.
  for (const char* operation : {"rope_angles", "add", "scale", "add_bias", "embed"}) {
    table.push_back({operation, "", Isa::kScalar});
  }
  return table;
}

}  // namespace loci
