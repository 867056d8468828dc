#include "depthwise/depthwise_weight_gradient_window_launch.cuh"

namespace kernelopt {

bool launch_depthwise_weight_gradient_window(const char* op,
                                             const DepthwiseWeightGradientParams& params,
                                             const Tensor& grad_z, const Tensor& input,
                                             const Tensor& grad_weight, cudaStream_t stream) {
  if (!slides_over_strips(params)) {
    return false;
  }
  return dispatch_up_to_32bit(input.scalar_type(), [&](auto tag) {
    return launch_depthwise_weight_gradient_window_as<typename decltype(tag)::type>(
        op, params, grad_z, input, grad_weight, stream);
  });
}

bool launch_depthwise_both_gradients(const char* op, const DepthwiseWeightGradientParams& params,
                                     const Tensor& grad_z, const Tensor& input,
                                     const Tensor& weight, const Tensor& grad_input,
                                     const Tensor& grad_weight, cudaStream_t stream) {
  if (!slides_over_strips(params)) {
    return false;
  }
  return dispatch_up_to_32bit(input.scalar_type(), [&](auto tag) {
    return launch_depthwise_both_gradients_as<typename decltype(tag)::type>(
        op, params, grad_z, input, weight, grad_input, grad_weight, stream);
  });
}

}  // namespace kernelopt
