// What the processor can do. Kernels are compiled for each instruction set and chosen at run time, per operation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace loci {

// The instruction sets that kernels are written for, in ascending order of ability.
enum class Isa {
  kScalar,  // portable C++, the reference
  kAvx2,    // AVX2 + FMA + F16C
  kAvx512,  // AVX-512 F, BW, DQ, VL and VNNI
  kAmx,     // these and AMX tiles of bfloat16 and int8, which the system lets this process use
};

struct CpuInfo {
  std::string model;    // as the processor names itself
  int cores = 1;        // that this process may run on
  bool avx2 = false;    // AVX2, FMA and F16C together
  bool avx512 = false;  // F, BW, DQ, VL and VNNI together
  // AVX512_BF16 whose dot products run at the rate of fused multiply-adds, so at twice their products: AMD Zen 4 and
  // later. Intel's first ones are slower than fp32.
  bool fast_bf16 = false;
  bool amx = false;  // AMX tiles, int8 and bfloat16, beside avx512 and AVX512_BF16; allowed by the system
};

const CpuInfo& cpu_info();

std::string_view to_string(Isa isa);
// "auto" is the best this machine has; a name that it lacks is an error.
Result<Isa> parse_isa(std::string_view name);
// Every instruction set of this machine, scalar first.
std::vector<Isa> supported_isas();
Isa best_isa();

}  // namespace loci
