// dispatch_floating with the CUDA toolkit's 16-bit types.
#pragma once

#include "common/cuda.cuh"
#include "common/dtype.h"

namespace kernelopt {

template <typename Function>
auto dispatch_floating_cuda(const char* op, ScalarType dtype, Function&& function) {
  return dispatch_floating<__half, __nv_bfloat16>(op, dtype, std::forward<Function>(function));
}

}  // namespace kernelopt
