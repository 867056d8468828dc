// The forward of separable_conv2d on Hopper's tensor cores, as one kernel or as two that share an
// intermediate tensor of their own.
#pragma once

#include "separable/separable_conv2d.h"

namespace kernelopt {

/// Writes activation(pointwise(depthwise_activation(depthwise(input)))) of a contiguous input to
/// `output`, contiguous and of at least one element; fp32 as three products of bf16 parts. False,
/// and nothing done, where no kernel here serves it or those of the two ops are faster.
bool separable_wgmma_cuda(const char* op, const SeparableArguments& arguments,
                          const Tensor& output);

}  // namespace kernelopt
