#include "attention/attention_table.h"

#include <fmt/format.h>

#include "kernels/cpu/kv_codec/page_layout.h"

namespace loci {

std::vector<KernelEntry> attention_table(Isa isa) {
  std::vector<KernelEntry> table;
  for (const KvCodec codec : {KvCodec::kKv16, KvCodec::kKv8, KvCodec::kKv4}) {
    table.push_back(
        {"softmax read", fmt::format("{}, head_dim 1..{}, dense or window", to_string(codec), kMaxHeadDim), isa});
    // Encoding is a share of a percent of a pass and the same code everywhere.
    table.push_back({"encode", std::string(to_string(codec)), Isa::kScalar});
  }
  return table;
}

}  // namespace loci
