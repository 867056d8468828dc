#include "conv1d/conv1d_weight_gradient_mma_launch.cuh"

namespace kernelopt {

template bool launch_conv1d_weight_gradient_mma_as<__nv_bfloat16>(
    const char*, const Conv1dWeightGradientProblem&, const Tensor&);
template void sum_weight_gradient_shares_as<__nv_bfloat16>(const char*,
                                                           const Conv1dWeightGradientProblem&,
                                                           const Tensor&, bool, const Tensor&);

}  // namespace kernelopt
