// The weight gradient on Hopper's tensor cores, on the host side.
#pragma once

#include "common/tensor.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// Computes the weight gradient of a problem that tensor cores serve, of T's precision, on Hopper.
/// False, and then nothing has been written, where this kernel does not serve it.
/// @param gradient  as for conv1d_weight_gradient_cuda
template <typename T>
bool launch_conv1d_weight_gradient_wgmma_as(const char* op,
                                            const Conv1dWeightGradientProblem& problem,
                                            const Tensor& gradient);

}  // namespace kernelopt
