// The weight gradient of the pointwise convolution, on the host side.
#pragma once

#include "common/math.h"
#include "common/tensor.h"

namespace kernelopt {

/// grad_weight[o, c] = sum over n, p of grad_z[n, o, p] * input[n, c, p].
/// @param grad_z  in the format that `channels_last` says
void pointwise_weight_gradient(const char* op, const Tensor& grad_z, const Tensor& input,
                               const Tensor& grad_weight, bool channels_last, Precision precision);

/// grad_weight = sum over the pixels of grad * images, 16-bit dtypes; false where it is not served.
/// Both are channels_last, grad_weight is contiguous.
bool pixel_rows_weight_gradient(const char* op, const Tensor& grad, const Tensor& images,
                                const Tensor& grad_weight);

}  // namespace kernelopt
