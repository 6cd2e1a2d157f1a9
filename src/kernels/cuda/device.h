// The CUDA devices of this machine. A build without CUDA answers the same question with an error that says so, hence
// nothing above this folder asks how Loci was built.
//
// Stateless and callable from any thread. The first call starts the driver, which takes some hundred milliseconds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loci/result.h"

namespace loci {

struct CudaDevice {
  std::string name;
  uint64_t memory_bytes = 0;
  int sm = 0;  // compute capability times ten: 90 is Hopper
};

// Empty if there is a driver but no device; kUnsupported if this build has no CUDA or the machine has no driver for it.
Result<std::vector<CudaDevice>> cuda_devices();

}  // namespace loci
