#include <cuda_runtime_api.h>

#include "kernels/cuda/device.h"

namespace loci {
namespace {

// nvcc's front end rejects fmt's compile-time checks, hence plain strings.
Error refused(const std::string& what, cudaError_t error) {
  return Error{ErrorCode::kUnsupported, what + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")"};
}

}  // namespace

Result<std::vector<CudaDevice>> cuda_devices() {
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  if (counted == cudaErrorNoDevice) return std::vector<CudaDevice>{};
  if (counted != cudaSuccess) {
    const std::string version =
        std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
    return refused("the CUDA driver does not answer; this build needs one for CUDA " + version + " or later", counted);
  }
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    const cudaError_t asked = cudaGetDeviceProperties(&properties, i);
    if (asked != cudaSuccess)
      return refused("CUDA device " + std::to_string(i) + " does not tell its properties", asked);
    const int sm = properties.major * 10 + properties.minor;
    devices.push_back({.name = properties.name, .memory_bytes = properties.totalGlobalMem, .sm = sm});
  }
  return devices;
}

}  // namespace loci
