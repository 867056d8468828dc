// From a runtime dtype to a C++ type, with the CUDA toolkit's 16-bit types.
#pragma once

#include "common/cuda.cuh"
#include "common/dtype.h"

namespace kernelopt {

template <typename Function>
auto dispatch_floating_cuda(const char* op, ScalarType dtype, Function&& function) {
  return dispatch_floating<__half, __nv_bfloat16>(op, dtype, std::forward<Function>(function));
}

/// Returns `function(TypeTag<T>{})`, a bool, for the dtypes of at most 32 bits; false for the rest.
template <typename Function>
bool dispatch_up_to_32bit(ScalarType dtype, Function&& function) {
  switch (dtype) {
    case ScalarType::Float: return function(TypeTag<float>{});
    case ScalarType::Half: return function(TypeTag<__half>{});
    case ScalarType::BFloat16: return function(TypeTag<__nv_bfloat16>{});
    default: return false;
  }
}

}  // namespace kernelopt
