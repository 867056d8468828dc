#include "conv_transpose1d/conv_transpose1d.h"

namespace kernelopt {

Conv1dArguments check_conv_transpose1d(const char* op, const Tensor& input, const Tensor& weight,
                                       const std::optional<Tensor>& bias, IntList stride,
                                       IntList padding, IntList output_padding, int64_t groups,
                                       IntList dilation, int64_t activation, int64_t precision) {
  check_conv1d_operands(op, input, weight, groups, activation, precision);
  Conv1dArguments arguments{};
  arguments.stride = single_value(op, "stride", stride, 1);
  arguments.padding = single_value(op, "padding", padding, 0);
  arguments.dilation = single_value(op, "dilation", dilation, 1);
  arguments.output_padding = single_value(op, "output_padding", output_padding, 0);
  arguments.groups = groups;
  arguments.transposed = true;
  arguments.activation = static_cast<Activation>(activation);
  arguments.precision = static_cast<Precision>(precision);
  KERNELOPT_CHECK(input.size(1) == weight.size(0), op, "expected input to have ", weight.size(0),
                  " channels (weight of shape ", format_list(weight.sizes()), "), got shape ",
                  format_list(input.sizes()));
  KERNELOPT_CHECK(weight.size(1) >= 1, op, "expected weight to have output channels, got shape ",
                  format_list(weight.sizes()));
  // torch asks this only where there is something to compute.
  const int64_t limit = std::max(arguments.stride, arguments.dilation);
  KERNELOPT_CHECK(input.size(0) == 0 || arguments.output_padding < limit, op,
                  "expected output_padding to be less than stride or dilation, got output_padding ",
                  arguments.output_padding, ", stride ", arguments.stride, " and dilation ",
                  arguments.dilation);
  arguments.out_channels = checked_mul(op, "the output channels", weight.size(1), groups);
  check_bias(op, "bias", bias, arguments.out_channels, input);
  arguments.out_length =
      conv_transpose_output_size(op, input.size(2), weight.size(2), arguments.stride,
                                 arguments.padding, arguments.output_padding, arguments.dilation);
  checked_bytes(op, conv1d_output_sizes(input, arguments), input.scalar_type());
  return arguments;
}

namespace {

Tensor conv_transpose1d_cpu(const Tensor& input, const Tensor& weight,
                            const std::optional<Tensor>& bias, IntList stride, IntList padding,
                            IntList output_padding, int64_t groups, IntList dilation,
                            int64_t activation, int64_t precision) {
  constexpr const char* kOp = "conv_transpose1d";
  const Conv1dArguments arguments =
      check_conv_transpose1d(kOp, input, weight, bias, stride, padding, output_padding, groups,
                             dilation, activation, precision);
  return conv1d_forward_cpu(kOp, input, weight, bias, arguments);
}

Conv1dGradients conv_transpose1d_backward_cpu(const Tensor& grad_output, const Tensor& input,
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
  return conv1d_backward_cpu(kOp, grad_output, input, weight, bias, arguments, output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kernelopt, m) {
  m.def(
      "conv_transpose1d(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, "
      "SymInt[] padding, SymInt[] output_padding, SymInt groups, SymInt[] dilation, "
      "int activation=0, int precision=0) -> Tensor");
  m.def(
      "conv_transpose1d_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor? bias, "
      "SymInt[] stride, SymInt[] padding, SymInt[] output_padding, SymInt groups, "
      "SymInt[] dilation, int activation=0, int precision=0, "
      "bool[3] output_mask=[True, True, True]) -> "
      "(Tensor grad_input, Tensor grad_weight, Tensor grad_bias)");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CPU, m) {
  m.impl("conv_transpose1d", TORCH_BOX(&conv_transpose1d_cpu));
  m.impl("conv_transpose1d_backward", TORCH_BOX(&conv_transpose1d_backward_cpu));
}

}  // namespace kernelopt
