#include "conv1d/conv1d.h"

#include <cstring>

namespace kernelopt {
namespace {

void clear(const char*, const Tensor& tensor) {
  const int64_t bytes = tensor.numel() * element_size(tensor.scalar_type());
  std::memset(tensor.mutable_data_ptr(), 0, static_cast<size_t>(bytes));
}

}  // namespace

Tensor conv1d_forward_aten(const char* op, const Tensor& input, const Tensor& weight,
                           const std::optional<Tensor>& bias, const Conv1dArguments& arguments,
                           Activation activation, const ActivationFunctions& functions) {
  const std::vector<int64_t> stride{arguments.stride}, padding{arguments.padding},
      dilation{arguments.dilation}, output_padding{arguments.output_padding};
  const Tensor z = aten_convolution(input, weight, bias, stride, padding, dilation,
                                    arguments.transposed, output_padding, arguments.groups);
  return finish(op, z, contiguous_strides(z.sizes()), activation, functions);
}

Conv1dGradients conv1d_gradients_aten(const char* op, const Tensor& grad_z, const Tensor& input,
                                      const Tensor& weight, const Conv1dArguments& arguments,
                                      const BoolList& output_mask,
                                      const ActivationFunctions& functions) {
  const std::vector<int64_t> stride{arguments.stride}, padding{arguments.padding},
      dilation{arguments.dilation}, output_padding{arguments.output_padding};
  const auto [grad_input, grad_weight, grad_bias] = aten_convolution_backward(
      op, grad_z, input, weight, stride, padding, dilation, arguments.transposed, output_padding,
      arguments.groups, output_mask);
  const auto contiguous = [&](const Tensor& gradient) {
    return finish(op, gradient, contiguous_strides(gradient.sizes()), Activation::kNone, functions);
  };
  return {contiguous(grad_input), contiguous(grad_weight), contiguous(grad_bias)};
}

Tensor conv1d_forward_cpu(const char* op, const Tensor& input, const Tensor& weight,
                          const std::optional<Tensor>& bias, const Conv1dArguments& arguments) {
  if (input.numel() == 0 || arguments.out_length == 0) {
    return empty_conv1d_output(op, input, arguments);
  }
  return conv1d_forward_aten(op, input, weight, bias, arguments, arguments.activation,
                             kActivationCpu);
}

Conv1dGradients conv1d_backward_cpu(const char* op, const Tensor& grad_output, const Tensor& input,
                                    const Tensor& weight, const std::optional<Tensor>& bias,
                                    const Conv1dArguments& arguments, const BoolList& output_mask) {
  if (input.numel() == 0 || grad_output.numel() == 0) {
    return zero_conv1d_gradients(op, input, weight, arguments, output_mask, clear);
  }
  Tensor grad_z = grad_output;
  if (arguments.activation != Activation::kNone) {
    const Tensor z =
        conv1d_forward_aten(op, input, weight, bias, arguments, Activation::kNone, kActivationCpu);
    grad_z = empty_conv1d_output(op, input, arguments);
    activation_backward_cpu(op, grad_output, z, grad_z, arguments.activation);
  }
  return conv1d_gradients_aten(op, grad_z, input, weight, arguments, output_mask, kActivationCpu);
}

namespace {

Tensor conv1d_cpu(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                  IntList stride, IntList padding, IntList dilation, int64_t groups,
                  int64_t activation, int64_t precision) {
  constexpr const char* kOp = "conv1d";
  const Conv1dArguments arguments = check_conv1d(kOp, input, weight, bias, stride, padding,
                                                 dilation, groups, activation, precision);
  return conv1d_forward_cpu(kOp, input, weight, bias, arguments);
}

Conv1dGradients conv1d_backward_cpu_op(const Tensor& grad_output, const Tensor& input,
                                       const Tensor& weight, const std::optional<Tensor>& bias,
                                       IntList stride, IntList padding, IntList dilation,
                                       int64_t groups, int64_t activation, int64_t precision,
                                       const BoolList& output_mask) {
  constexpr const char* kOp = "conv1d_backward";
  const Conv1dArguments arguments = check_conv1d(kOp, input, weight, bias, stride, padding,
                                                 dilation, groups, activation, precision);
  check_conv1d_gradient(kOp, grad_output, input, arguments, output_mask);
  return conv1d_backward_cpu(kOp, grad_output, input, weight, bias, arguments, output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kernelopt, m) {
  m.def(
      "conv1d(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, SymInt groups, int activation=0, int precision=0) -> Tensor");
  m.def(
      "conv1d_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor? bias, "
      "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups, int activation=0, "
      "int precision=0, bool[3] output_mask=[True, True, True]) -> "
      "(Tensor grad_input, Tensor grad_weight, Tensor grad_bias)");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CPU, m) {
  m.impl("conv1d", TORCH_BOX(&conv1d_cpu));
  m.impl("conv1d_backward", TORCH_BOX(&conv1d_backward_cpu_op));
}

}  // namespace kernelopt
