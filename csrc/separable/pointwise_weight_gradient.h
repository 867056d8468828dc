// The weight gradient of the pointwise convolution, on the host side.
#pragma once

#include "common/tensor.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// grad_weight[o, c] = sum over n, p of grad_z[n, o, p] * input[n, c, p].
/// @param channels_last  the format to take the operands in; a copy is made of one in another
/// @param grad_bias      null, or [C_out] for the sums of grad_z over n and p
/// @return whether it has written grad_bias as well, for which it has read grad_z anyhow
bool pointwise_weight_gradient(const char* op, const Tensor& grad_z, const Tensor& input,
                               const Tensor& grad_weight, bool channels_last, Precision precision,
                               const Tensor* grad_bias);

/// Whether channel_gradient() is worth having: on Hopper, except for what has to be precise.
bool channel_gradient_serves(const Conv1dWeightGradientProblem& problem, const Tensor& like);

/// The weight gradient as that of a one-dimensional convolution over the pixels of dense images,
/// channels_last ones a single batch entry; false where it does not fit. grad_weight is contiguous.
/// @param steady_sums  null, or in float32 [steady_channels] for the sums of the steady tensor
bool channel_gradient(const char* op, const Conv1dWeightGradientProblem& problem,
                      const Tensor& grad_weight, const Tensor* steady_sums = nullptr);

}  // namespace kernelopt
