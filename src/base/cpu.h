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
};

struct CpuInfo {
  std::string model;    // as the processor names itself
  int cores = 1;        // that this process may run on
  bool avx2 = false;    // AVX2, FMA and F16C together
  bool avx512 = false;  // F, BW, DQ, VL and VNNI together
  bool amx_int8 = false;
};

const CpuInfo& cpu_info();

std::string_view to_string(Isa isa);
// "auto" is the best this machine has; a name that it lacks is an error.
Result<Isa> parse_isa(std::string_view name);
// Every instruction set of this machine, scalar first.
std::vector<Isa> supported_isas();
Isa best_isa();

}  // namespace loci
