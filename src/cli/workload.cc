#include "cli/workload.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/quantity.h"

namespace loci {
namespace {

// Sum of depth + 1, depth + 2, ..., depth + tokens: slots that `tokens` consecutive tokens read, each its own included.
double slots_read(uint32_t tokens, uint32_t depth) {
  const double n = tokens;
  return n * depth + n * (n + 1) / 2;
}

}  // namespace

Workload prefill_workload(const ModelInfo& info, uint32_t tokens, uint32_t depth, uint32_t chunk) {
  Workload work;
  for (uint32_t done = 0; done < tokens;) {
    done += std::min(chunk, tokens - done);
    work.bytes += static_cast<double>(info.weights_bytes) +
                  static_cast<double>(info.kv_bytes_per_token) * (static_cast<double>(depth) + done);
  }
  work.linear_macs = static_cast<double>(info.macs_per_token) * tokens + static_cast<double>(info.head_macs);
  work.attention_macs = static_cast<double>(info.attention_macs_per_slot) * slots_read(tokens, depth);
  return work;
}

Workload decode_workload(const ModelInfo& info, uint32_t steps, uint32_t depth) {
  const double slots = slots_read(steps, depth);
  Workload work;
  work.bytes = static_cast<double>(info.weights_bytes) * steps + static_cast<double>(info.kv_bytes_per_token) * slots;
  work.linear_macs = (static_cast<double>(info.macs_per_token) + static_cast<double>(info.head_macs)) * steps;
  work.attention_macs = static_cast<double>(info.attention_macs_per_slot) * slots;
  return work;
}

double prefill_roof_share(const Workload& work, const Roof& roof, bool f32_activations, double seconds) {
  if (seconds <= 0) return 0;
  const double linear_rate = f32_activations ? roof.f32_macs_per_second : roof.int8_macs_per_second;
  const double attention_rate = f32_activations ? roof.f32_macs_per_second : roof.attention_macs_per_second();
  return (work.linear_macs / linear_rate + work.attention_macs / attention_rate) / seconds;
}

double decode_roof_share(const Workload& work, const Roof& roof, double seconds) {
  if (seconds <= 0) return 0;
  return work.bytes / seconds / roof.read_bytes_per_second;
}

std::string compute_rates(const Roof& roof) {
  std::string out = fmt::format("int8 {} GMAC/s", format_number(roof.int8_macs_per_second / 1e9));
  if (roof.bf16_macs_per_second > 0)
    out += fmt::format(", bf16 {} GMAC/s", format_number(roof.bf16_macs_per_second / 1e9));
  if (roof.int16_macs_per_second > 0)
    out += fmt::format(", int16 {} GMAC/s", format_number(roof.int16_macs_per_second / 1e9));
  return out + fmt::format(", fp32 {} GMAC/s", format_number(roof.f32_macs_per_second / 1e9));
}

}  // namespace loci
