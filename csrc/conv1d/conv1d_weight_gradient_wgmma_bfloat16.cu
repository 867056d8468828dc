#include "conv1d/conv1d_weight_gradient_wgmma_launch.cuh"

namespace kernelopt {

template bool launch_conv1d_weight_gradient_wgmma_as<__nv_bfloat16>(
    const char*, const Conv1dWeightGradientProblem&, const Tensor&);

}  // namespace kernelopt
