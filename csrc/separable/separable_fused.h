// The fused forward of separable_conv2d.
#pragma once

#include "separable/separable_conv2d.h"

namespace kernelopt {

/// Writes activation(pointwise(depthwise_activation(depthwise(input)))) to `output`, which has at
/// least one element, in one kernel that keeps the depthwise result in shared memory. False, and
/// nothing done, where two kernels do less work.
bool separable_fused_cuda(const char* op, const SeparableArguments& arguments,
                          const Tensor& output);

}  // namespace kernelopt
