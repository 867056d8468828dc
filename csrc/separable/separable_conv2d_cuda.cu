#include "common/device.h"
#include "depthwise/conv2d_cuda.h"
#include "separable/separable_conv2d.h"
#include "separable/separable_fused.h"
#include "separable/separable_wgmma.h"

namespace kernelopt {
namespace {

Tensor separable_conv2d_cuda(const Tensor& input, const Tensor& depthwise_weight,
                             const std::optional<Tensor>& depthwise_bias,
                             const Tensor& pointwise_weight,
                             const std::optional<Tensor>& pointwise_bias, IntList stride,
                             IntList padding, IntList dilation, int64_t depthwise_activation,
                             int64_t activation, int64_t precision) {
  constexpr const char* kOp = "separable_conv2d";
  const SeparableArguments arguments{input,
                                     depthwise_weight,
                                     depthwise_bias,
                                     pointwise_weight,
                                     pointwise_bias,
                                     {stride, padding, dilation},
                                     Activation(depthwise_activation),
                                     Activation(activation),
                                     Precision(precision)};
  const std::vector<int64_t> sizes = check_separable(kOp, arguments);
  if (!kernels_available(input)) {
    return call_aten_path<Tensor>(kOp, input, depthwise_weight, depthwise_bias, pointwise_weight,
                                  pointwise_bias, stride, padding, dilation, depthwise_activation,
                                  activation, precision);
  }
  Tensor output = empty_in_format_of(kOp, input, sizes);
  if (output.numel() == 0) {
    return output;
  }
  // On tensor cores two kernels are faster than the fused one that multiplies on CUDA cores.
  const bool channels_last = is_channels_last(input);
  const Precision mode = arguments.precision;
  const bool tensor_cores =
      PointwiseCuda::on_tensor_cores(output, pointwise_weight, mode, channels_last);
  if (!PointwiseCuda::has_few_pixels(output, pointwise_weight, mode, channels_last) &&
      (tensor_cores ? !channels_last && separable_wgmma_cuda(kOp, arguments, output)
                    : separable_fused_cuda(kOp, arguments, output))) {
    return output;
  }
  const Tensor hidden = DepthwiseCuda::forward(kOp, input, depthwise_weight, depthwise_bias,
                                               arguments.window, arguments.depthwise_activation);
  PointwiseCuda::forward_into(kOp, hidden, pointwise_weight, pointwise_bias, arguments.activation,
                              arguments.precision, channels_last, output);
  return output;
}

SeparableGradients separable_conv2d_backward_cuda(const Tensor& grad_output, const Tensor& input,
                                                  const Tensor& depthwise_weight,
                                                  const std::optional<Tensor>& depthwise_bias,
                                                  const Tensor& pointwise_weight,
                                                  const std::optional<Tensor>& pointwise_bias,
                                                  IntList stride, IntList padding, IntList dilation,
                                                  int64_t depthwise_activation, int64_t activation,
                                                  int64_t precision, const BoolList& output_mask) {
  constexpr const char* kOp = "separable_conv2d_backward";
  const SeparableArguments arguments{input,
                                     depthwise_weight,
                                     depthwise_bias,
                                     pointwise_weight,
                                     pointwise_bias,
                                     {stride, padding, dilation},
                                     Activation(depthwise_activation),
                                     Activation(activation),
                                     Precision(precision)};
  const std::vector<int64_t> sizes = check_separable(kOp, arguments);
  check_conv2d_backward(kOp, grad_output, input, sizes, output_mask, 5);
  if (!kernels_available(input)) {
    return call_aten_path<SeparableGradients>(
        kOp, grad_output, input, depthwise_weight, depthwise_bias, pointwise_weight, pointwise_bias,
        stride, padding, dilation, depthwise_activation, activation, precision, output_mask);
  }
  return separable_backward<DepthwiseCuda, PointwiseCuda>(kOp, grad_output, arguments, output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CUDA, m) {
  m.impl("separable_conv2d", TORCH_BOX(&separable_conv2d_cuda));
  m.impl("separable_conv2d_backward", TORCH_BOX(&separable_conv2d_backward_cuda));
}

}  // namespace kernelopt
