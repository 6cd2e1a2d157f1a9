#include "base/cpu.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <thread>

namespace loci {
namespace {

int allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::string model_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

#if defined(__x86_64__)
// Linux saves the tiles' state only for processes that have asked for it.
bool ask_for_tiles() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

CpuInfo detect() {
  CpuInfo info;
  info.model = model_name();
  info.cores = allowed_cores();
#if defined(__x86_64__)
  __builtin_cpu_init();
  // clang 14 does not know "f16c", so leaf 1 is asked for it; avx2 implies that the system saves the registers.
  unsigned eax = 1, ebx = 0, ecx = 0, edx = 0;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  const bool f16c = ((ecx >> 29) & 1u) != 0;
  info.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
  info.avx512 = info.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512vnni");
  eax = 7, ecx = 1;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  const bool bf16 = info.avx512 && ((eax >> 5) & 1u) != 0;
  info.fast_bf16 = bf16 && __builtin_cpu_is("amd");
  eax = 7, ecx = 0;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  constexpr unsigned kTiles = 1u << 22 | 1u << 24 | 1u << 25;  // AMX_BF16, AMX_TILE, AMX_INT8
  info.amx = bf16 && (edx & kTiles) == kTiles && ask_for_tiles();
#endif
  return info;
}

}  // namespace

const CpuInfo& cpu_info() {
  static const CpuInfo info = detect();
  return info;
}

std::string_view to_string(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> out{Isa::kScalar};
  if (cpu_info().avx2) out.push_back(Isa::kAvx2);
  if (cpu_info().avx512) out.push_back(Isa::kAvx512);
  if (cpu_info().amx) out.push_back(Isa::kAmx);
  return out;
}

Isa best_isa() { return supported_isas().back(); }

Result<Isa> parse_isa(std::string_view name) {
  if (name == "auto") return best_isa();
  for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}) {
    if (to_string(isa) != name) continue;
    if (isa > best_isa()) {
      return fail(ErrorCode::kUnsupported,
                  "instruction set '{}' is not available on this processor ({}); the best is '{}'", name,
                  cpu_info().model, to_string(best_isa()));
    }
    return isa;
  }
  return fail(ErrorCode::kInvalidArgument, "unknown instruction set '{}': use auto, scalar, avx2, avx512 or amx", name);
}

}  // namespace loci
