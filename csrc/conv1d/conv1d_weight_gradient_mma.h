// The weight gradient on tensor cores, on the host side.
#pragma once

#include "common/tensor.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// What the tensor cores are worth having for: 16-bit operands, or fp32 that need not be IEEE;
/// channels that fill fragments.
bool conv1d_weight_gradient_on_tensor_cores(const Conv1dWeightGradientProblem& problem,
                                            const Tensor& gradient);

/// Computes a checked problem's weight gradient on tensor cores (sm_80 and later): fp16, bf16, and
/// fp32 in default precision as three products of bf16 parts. False, and then nothing has been
/// written, where they do not serve it.
/// @param gradient  as for conv1d_weight_gradient_cuda
bool launch_conv1d_weight_gradient_mma(const char* op, const Conv1dWeightGradientProblem& problem,
                                       const Tensor& gradient);

/// gradient = the sum of shares [shares, numel] in fp32, added in order; what of it is not finite
/// is computed anew in plain fp32. The gradient's dtype is fp16, bf16 or fp32.
/// @param taps_first  shares are [shares, taps, numel / taps]
void sum_conv1d_weight_gradient_shares(const char* op, const Conv1dWeightGradientProblem& problem,
                                       const Tensor& shares, bool taps_first,
                                       const Tensor& gradient);

}  // namespace kernelopt
