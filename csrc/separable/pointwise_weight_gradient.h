// The weight gradient of the pointwise convolution, on the host side.
#pragma once

#include "common/tensor.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// grad_weight[o, c] = sum over n, p of grad_z[n, o, p] * input[n, c, p].
/// @param channels_last  the format to take the operands in; a copy is made of one in another
void pointwise_weight_gradient(const char* op, const Tensor& grad_z, const Tensor& input,
                               const Tensor& grad_weight, bool channels_last, Precision precision);

/// Whether channel_gradient() is worth having: on Hopper, except for what has to be precise.
bool channel_gradient_serves(const Conv1dWeightGradientProblem& problem, const Tensor& like);

/// The weight gradient as that of a one-dimensional convolution over the pixels of dense images,
/// channels_last ones a single batch entry; false where it does not fit. grad_weight is contiguous.
bool channel_gradient(const char* op, const Conv1dWeightGradientProblem& problem,
                      const Tensor& grad_weight);

}  // namespace kernelopt
