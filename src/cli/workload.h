// What a forward pass must read and multiply at least, and how near to the machine's roof a measured time is. Pure
// functions.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cpu/roof/roof.h"
#include "loci/loci.h"

namespace loci {

struct Workload {
  double bytes = 0;           // weights and cache pages read
  double linear_macs = 0;     // projections, feed-forward, LM head
  double attention_macs = 0;  // queries times keys, weights times values
};

// `tokens` prompt tokens after `depth` earlier ones, in passes of `chunk`: every pass reads the weights and what the
// cache holds by then.
Workload prefill_workload(const ModelInfo& info, uint32_t tokens, uint32_t depth, uint32_t chunk);
// `steps` steps of one token each, the first of which reads `depth` earlier tokens.
Workload decode_workload(const ModelInfo& info, uint32_t steps, uint32_t depth);

// Share of the roof that a prefill reached: the time its multiply-accumulates would take at the measured rates (linear
// ones as int8 dot products, or fp32 with fp32 activations; attention in fp32) over the time it took.
double prefill_roof_share(const Workload& work, const Roof& roof, bool f32_activations, double seconds);
// Share that a decode reached: bytes read per second over the measured read bandwidth.
double decode_roof_share(const Workload& work, const Roof& roof, double seconds);

// "int8 630 GMAC/s, fp32 164 GMAC/s": the rates of arithmetic that were measured. bf16 only where its instructions are
// used.
std::string compute_rates(const Roof& roof);

}  // namespace loci
