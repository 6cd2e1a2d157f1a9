#include "attention/attention_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cpu/attention/attention_kernels.h"

namespace loci {

std::vector<KernelEntry> attention_table(Isa isa) {
  const Isa vectors = std::min(isa, Isa::kAvx512);  // the matrix unit has prompts' products only
  std::vector<KernelEntry> table;
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4}) {
    for (const ReadPhase phase : {ReadPhase::kPrompt, ReadPhase::kDecode}) {
      const ReadKernel& kernel = read_kernel(isa, codec, phase, ReadPrecision::kFast);
      table.push_back(
          {phase == ReadPhase::kPrompt ? "prompt read" : "decode read",
           fmt::format("{}, head_dim 1..{}, dense or window: {}", to_string(codec), kMaxHeadDim, kernel.arithmetic),
           &kernel == &read_kernel(vectors, codec, phase, ReadPrecision::kFast) ? vectors : isa});
    }
    // Encoding is a share of a percent of a pass and the same code everywhere.
    table.push_back({"encode", std::string(to_string(codec)), Isa::kScalar});
  }
  table.push_back({"select", "scores, softmax, pooling, top_k, top_p", vectors});
  return table;
}

}  // namespace loci
