#include "separable/separable_conv2d.h"

namespace kernelopt {

std::vector<int64_t> check_separable(const char* op, const SeparableArguments& arguments) {
  const auto& [input, depthwise_weight, depthwise_bias, pointwise_weight, pointwise_bias, window,
               depthwise_activation, activation, precision] = arguments;
  std::vector<int64_t> sizes = check_depthwise(op, input, "depthwise_weight", depthwise_weight,
                                               "depthwise_bias", depthwise_bias, window);
  check_pointwise_weight(op, input, sizes[1], "pointwise_weight", pointwise_weight,
                         "pointwise_bias", pointwise_bias);
  check_enum(op, "depthwise_activation", static_cast<int64_t>(depthwise_activation),
             kNumActivations);
  check_activation_and_precision(op, static_cast<int64_t>(activation),
                                 static_cast<int64_t>(precision));
  sizes[1] = pointwise_weight.size(0);
  return sizes;
}

namespace {

Tensor separable_conv2d_cpu(const Tensor& input, const Tensor& depthwise_weight,
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
  check_separable(kOp, arguments);
  const Tensor hidden = DepthwiseCpu::forward(kOp, input, depthwise_weight, depthwise_bias,
                                              arguments.window, Activation(depthwise_activation));
  const Tensor output = PointwiseCpu::forward(kOp, hidden, pointwise_weight, pointwise_bias,
                                              Activation(activation), Precision(precision));
  return finish(kOp, output, strides_in_format_of(input, output.sizes()), Activation::kNone,
                kActivationCpu);
}

SeparableGradients separable_conv2d_backward_cpu(const Tensor& grad_output, const Tensor& input,
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
  const auto sizes = check_separable(kOp, arguments);
  check_conv2d_backward(kOp, grad_output, input, sizes, output_mask, 5);
  return separable_backward<DepthwiseCpu, PointwiseCpu>(kOp, grad_output, arguments, output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kernelopt, m) {
  m.def(
      "separable_conv2d(Tensor input, Tensor depthwise_weight, Tensor? depthwise_bias, "
      "Tensor pointwise_weight, Tensor? pointwise_bias, SymInt[] stride, SymInt[] padding, "
      "SymInt[] dilation, int depthwise_activation=0, int activation=0, int precision=0) -> "
      "Tensor");
  m.def(
      "separable_conv2d_backward(Tensor grad_output, Tensor input, Tensor depthwise_weight, "
      "Tensor? depthwise_bias, Tensor pointwise_weight, Tensor? pointwise_bias, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, int depthwise_activation=0, int activation=0, "
      "int precision=0, bool[5] output_mask=[True, True, True, True, True]) -> "
      "(Tensor grad_input, Tensor grad_depthwise_weight, Tensor grad_depthwise_bias, "
      "Tensor grad_pointwise_weight, Tensor grad_pointwise_bias)");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CPU, m) {
  m.impl("separable_conv2d", TORCH_BOX(&separable_conv2d_cpu));
  m.impl("separable_conv2d_backward", TORCH_BOX(&separable_conv2d_backward_cpu));
}

}  // namespace kernelopt
