#include "depthwise/depthwise_weight_gradient_window_launch.cuh"

namespace kernelopt {

namespace {

bool is_served(const DepthwiseWeightGradientParams& params) {
  const int64_t strips = params.h.result_size * divide_up(params.w.result_size, 64);
  return params.h.dilation == 1 && params.w.dilation == 1 && params.batch > 0 &&
         params.batch * strips <= kMaxIndex32 &&
         fits_32bit(forward_of(params), params.batch * params.filters, kSlidingSlack);
}

}  // namespace

bool launch_depthwise_weight_gradient_window(const char* op,
                                             const DepthwiseWeightGradientParams& params,
                                             const Tensor& grad_z, const Tensor& input,
                                             const Tensor& grad_weight, cudaStream_t stream) {
  if (!is_served(params)) {
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
  if (!is_served(params)) {
    return false;
  }
  return dispatch_up_to_32bit(input.scalar_type(), [&](auto tag) {
    return launch_depthwise_both_gradients_as<typename decltype(tag)::type>(
        op, params, grad_z, input, weight, grad_input, grad_weight, stream);
  });
}

}  // namespace kernelopt
