// The weight gradient of contiguous tensors at stride and dilation 1 by the kernel that keeps
// windows of input rows in registers.
#pragma once

#include "depthwise/depthwise_launch.h"

namespace kernelopt {

/// False where it has no instance for the shape, or the plan does not fit.
bool launch_depthwise_weight_gradient_window(const char* op,
                                             const DepthwiseWeightGradientParams& params,
                                             const Tensor& grad_z, const Tensor& input,
                                             const Tensor& grad_weight, cudaStream_t stream);

/// Both gradients at once, of contiguous tensors; the same.
/// @param params  of the weight gradient, but for the axes: those of the input gradient as a
/// correlation of grad_z
bool launch_depthwise_both_gradients(const char* op, const DepthwiseWeightGradientParams& params,
                                     const Tensor& grad_z, const Tensor& input,
                                     const Tensor& weight, const Tensor& grad_input,
                                     const Tensor& grad_weight, cudaStream_t stream);

}  // namespace kernelopt
