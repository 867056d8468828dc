// The forward of separable_conv2d as two kernels on Hopper's tensor cores, whose intermediate
// tensor is laid out for the second one.
#pragma once

#include "common/tensor.h"
#include "separable/separable_wgmma_params.h"

#include <cuda_runtime.h>

namespace kernelopt {

/// Computes a problem of contiguous tensors. False, and nothing done, where the kernels do not fit
/// it or others are faster. Instantiated for float, __half and __nv_bfloat16.
/// @param like  a tensor of the device, for memory
template <typename T>
bool launch_separable_columns_as(const char* op, const SeparableWgmmaProblem& problem,
                                 const Tensor& like, cudaStream_t stream);

/// The pointwise product of contiguous images alone, written as columns before.
template <typename T>
bool launch_image_columns_as(const char* op, const SeparableWgmmaProblem& problem,
                             const Tensor& like, cudaStream_t stream);

}  // namespace kernelopt
