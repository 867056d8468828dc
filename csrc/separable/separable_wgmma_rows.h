// The separable kernel that slides down the rows of wide fp32 images.
#pragma once

#include "separable/separable_wgmma_params.h"

#include <cuda_runtime.h>

namespace kernelopt {

/// False, and nothing done, where the kernel does not serve the problem or another one is faster.
bool launch_separable_rows(const char* op, const SeparableWgmmaProblem& problem, int device,
                           cudaStream_t stream);

}  // namespace kernelopt
