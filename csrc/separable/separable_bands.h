// The separable kernel of 16-bit rows whose depthwise half is on tensor cores too.
#pragma once

#include "separable/separable_wgmma_params.h"

#include <cuda_runtime.h>

namespace kernelopt {

/// False, and nothing done, where the kernel does not serve the problem or another one is faster.
template <typename T>
bool launch_separable_bands_as(const char* op, const SeparableWgmmaProblem& problem, int device,
                               cudaStream_t stream);

}  // namespace kernelopt
