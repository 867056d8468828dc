// The gradient of a ReLU with the bias gradient of the convolution before it, on the host side.
#pragma once

#include "common/tensor.h"

namespace kernelopt {

/// grad_z = grad where relu > 0, else 0, written over `grad`.
/// @param grad, relu  [N, C, H, W] of the same strides, contiguous or channels_last
/// @return [C], the sums of grad_z over all but the channels, in its dtype
Tensor relu_gradient_with_sums(const char* op, const Tensor& grad, const Tensor& relu);

}  // namespace kernelopt
