// The forward of separable_conv2d as one kernel on Hopper's tensor cores.
#pragma once

#include "separable/separable_conv2d.h"

namespace kernelopt {

/// Writes activation(pointwise(depthwise_activation(depthwise(input)))) of a contiguous input to
/// `output`, contiguous and of at least one element, in one kernel; fp32 as three products of bf16
/// parts. False, and nothing done, where the kernel does not serve it or two kernels are faster.
bool separable_wgmma_cuda(const char* op, const SeparableArguments& arguments,
                          const Tensor& output);

}  // namespace kernelopt
