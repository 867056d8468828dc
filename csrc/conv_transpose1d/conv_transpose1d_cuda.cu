#include "conv_transpose1d/conv_transpose1d.h"

#include "common/device.h"
#include "conv1d/conv1d_cuda.h"

namespace kernelopt {
namespace {

Tensor conv_transpose1d_cuda(const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, IntList stride, IntList padding,
                             IntList output_padding, int64_t groups, IntList dilation,
                             int64_t activation, int64_t precision) {
  constexpr const char* kOp = "conv_transpose1d";
  const Conv1dArguments arguments =
      check_conv_transpose1d(kOp, input, weight, bias, stride, padding, output_padding, groups,
                             dilation, activation, precision);
  if (!kernels_available(input)) {
    return call_aten_path<Tensor>(kOp, input, weight, bias, stride, padding, output_padding, groups,
                                  dilation, activation, precision);
  }
  return conv1d_forward_cuda(kOp, input, weight, bias, arguments);
}

Conv1dGradients conv_transpose1d_backward_cuda(const Tensor& grad_output, const Tensor& input,
                                               const Tensor& weight,
                                               const std::optional<Tensor>& bias, IntList stride,
                                               IntList padding, IntList output_padding,
                                               int64_t groups, IntList dilation, int64_t activation,
                                               int64_t precision, const BoolList& output_mask) {
  constexpr const char* kOp = "conv_transpose1d_backward";
  const Conv1dArguments arguments =
      check_conv_transpose1d(kOp, input, weight, bias, stride, padding, output_padding, groups,
                             dilation, activation, precision);
  check_conv1d_gradient(kOp, grad_output, input, arguments, output_mask);
  if (!kernels_available(input)) {
    return call_aten_path<Conv1dGradients>(kOp, grad_output, input, weight, bias, stride, padding,
                                           output_padding, groups, dilation, activation, precision,
                                           output_mask);
  }
  return conv1d_backward_cuda(kOp, grad_output, input, weight, bias, arguments, output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CUDA, m) {
  m.impl("conv_transpose1d", TORCH_BOX(&conv_transpose1d_cuda));
  m.impl("conv_transpose1d_backward", TORCH_BOX(&conv_transpose1d_backward_cuda));
}

}  // namespace kernelopt
