#include "base/error.h"
#include "kernels/cuda/device.h"

namespace loci {

Result<std::vector<CudaDevice>> cuda_devices() {
  return fail(ErrorCode::kUnsupported,
              "this build of loci has no CUDA; build preset 'cuda' on a machine with nvcc to get it");
}

}  // namespace loci
