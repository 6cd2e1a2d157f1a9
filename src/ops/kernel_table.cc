#include "ops/kernel_table.h"

#include "kernels/cpu/gemm/layout.h"

namespace loci {

std::vector<KernelEntry> kernel_table(Isa isa) {
  std::vector<KernelEntry> table;
  for (WeightLayout layout : all_layouts()) table.push_back({"linear", std::string(info(layout).name), isa});
  table.push_back({"round activations", "one or two int8 terms x 32", isa});
  table.push_back({"rms_norm", "", isa});
  table.push_back({"rotate", "adjacent", isa});
  table.push_back({"rotate", "halves", isa});
  table.push_back({"silu_mul", "", isa});
  table.push_back({"gelu_tanh_mul", "", isa});
  // Bound by memory or small: the compiler's code serves every instruction set.
  for (const char* operation : {"rope_angles", "add", "scale", "add_bias", "embed"}) {
    table.push_back({operation, "", Isa::kScalar});
  }
  return table;
}

}  // namespace loci
