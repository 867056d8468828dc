#include "depthwise/depthwise_weight_gradient_window_launch.cuh"

namespace kernelopt {

template bool launch_depthwise_weight_gradient_window_as<float>(
    const char*, const DepthwiseWeightGradientParams&, const Tensor&, const Tensor&, const Tensor&,
    cudaStream_t);
template bool launch_depthwise_both_gradients_as<float>(const char*,
                                                        const DepthwiseWeightGradientParams&,
                                                        const Tensor&, const Tensor&, const Tensor&,
                                                        const Tensor&, const Tensor&, cudaStream_t);

}  // namespace kernelopt
