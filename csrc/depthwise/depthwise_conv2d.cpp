#include "depthwise/depthwise_conv2d.h"

namespace kernelopt {
namespace {

const std::vector<int64_t> kNoOutputPadding{0, 0};

}  // namespace

void check_conv2d_input(const char* op, const Tensor& input) {
  check_tensor(op, "input", input);
  check_rank(op, "input", input, 4);
  KERNELOPT_CHECK(input.size(1) > 0, op, "expected input to have at least 1 channel, got shape ",
                  format_list(input.sizes()));
  KERNELOPT_CHECK(input.size(0) == 0 || (input.size(2) > 0 && input.size(3) > 0), op,
                  "expected input to have a height and a width of at least 1, got shape ",
                  format_list(input.sizes()));
}

std::vector<int64_t> depthwise_output_sizes(const char* op, const Tensor& input,
                                            const Tensor& weight, const Window2d& window) {
  const auto output_size = [&](int64_t dim) {
    return convolution_output_size(op, input.size(2 + dim), weight.size(2 + dim),
                                   window.stride[dim], window.padding[dim], window.dilation[dim]);
  };
  return {input.size(0), weight.size(0), output_size(0), output_size(1)};
}

std::vector<int64_t> check_depthwise(const char* op, const Tensor& input, const char* weight_name,
                                     const Tensor& weight, const char* bias_name,
                                     const std::optional<Tensor>& bias, const Window2d& window) {
  check_conv2d_input(op, input);
  check_tensor(op, weight_name, weight);
  check_matches(op, weight_name, weight, "input", input);
  check_rank(op, weight_name, weight, 4);
  const int64_t channels = input.size(1), out_channels = weight.size(0);
  KERNELOPT_CHECK(out_channels > 0 && out_channels % channels == 0, op, "expected ", weight_name,
                  " to have a positive multiple of the input's ", channels,
                  " channels as its first size, got shape ", format_list(weight.sizes()));
  KERNELOPT_CHECK(weight.size(1) == 1, op, "expected ", weight_name,
                  " to have 1 as its second size, got shape ", format_list(weight.sizes()));
  KERNELOPT_CHECK(weight.size(2) > 0 && weight.size(3) > 0, op, "expected ", weight_name,
                  " to have a kernel_size of at least 1, got shape ", format_list(weight.sizes()));
  check_bias(op, bias_name, bias, out_channels, input);
  check_int_list(op, "stride", window.stride, 2, 1);
  check_int_list(op, "padding", window.padding, 2, 0);
  check_int_list(op, "dilation", window.dilation, 2, 1);
  std::vector<int64_t> sizes = depthwise_output_sizes(op, input, weight, window);
  checked_bytes(op, sizes, input.scalar_type());
  return sizes;
}

void check_conv2d_backward(const char* op, const Tensor& grad_output, const Tensor& input,
                           IntList output_sizes, const BoolList& output_mask, size_t gradients) {
  check_tensor(op, "grad_output", grad_output);
  check_matches(op, "grad_output", grad_output, "input", input);
  check_sizes(op, "grad_output", grad_output, output_sizes);
  KERNELOPT_CHECK(output_mask.size() == gradients, op, "expected output_mask to have ", gradients,
                  " values, got ", output_mask.size());
}

Tensor depthwise_forward_aten(const char* op, const Tensor& input, const Tensor& weight,
                              const std::optional<Tensor>& bias, const Window2d& window,
                              Activation activation, const ActivationFunctions& functions) {
  const Tensor z = aten_convolution(input, weight, bias, window.stride, window.padding,
                                    window.dilation, false, kNoOutputPadding, input.size(1));
  return finish(op, z, strides_in_format_of(input, z.sizes()), activation, functions);
}

Gradients depthwise_gradients_aten(const char* op, const Tensor& grad_z, const Tensor& input,
                                   const Tensor& weight, const Window2d& window,
                                   const BoolList& output_mask,
                                   const ActivationFunctions& functions) {
  auto [grad_input, grad_weight, grad_bias] = aten_convolution_backward(
      op, grad_z, input, weight, window.stride, window.padding, window.dilation, false,
      kNoOutputPadding, input.size(1), output_mask);
  if (output_mask[0]) {
    grad_input = finish(op, grad_input, strides_in_format_of(input, input.sizes()),
                        Activation::kNone, functions);
  }
  if (output_mask[1]) {
    grad_weight =
        finish(op, grad_weight, contiguous_strides(weight.sizes()), Activation::kNone, functions);
  }
  return {grad_input, grad_weight, grad_bias};
}

Tensor DepthwiseCpu::forward(const char* op, const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, const Window2d& window,
                             Activation activation, Precision) {
  return depthwise_forward_aten(op, input, weight, bias, window, activation, kActivationCpu);
}

Gradients DepthwiseCpu::gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                                  const Tensor& weight, const Window2d& window,
                                  const BoolList& output_mask, Precision) {
  return depthwise_gradients_aten(op, grad_z, input, weight, window, output_mask, kActivationCpu);
}

namespace {

Tensor depthwise_conv2d_cpu(const Tensor& input, const Tensor& weight,
                            const std::optional<Tensor>& bias, IntList stride, IntList padding,
                            IntList dilation, int64_t activation, int64_t precision) {
  constexpr const char* kOp = "depthwise_conv2d";
  const Window2d window{stride, padding, dilation};
  check_depthwise(kOp, input, "weight", weight, "bias", bias, window);
  check_activation_and_precision(kOp, activation, precision);
  return DepthwiseCpu::forward(kOp, input, weight, bias, window, Activation(activation),
                               Precision(precision));
}

Gradients depthwise_conv2d_backward_cpu(const Tensor& grad_output, const Tensor& input,
                                        const Tensor& weight, const std::optional<Tensor>& bias,
                                        IntList stride, IntList padding, IntList dilation,
                                        int64_t activation, int64_t precision,
                                        const BoolList& output_mask) {
  constexpr const char* kOp = "depthwise_conv2d_backward";
  const Window2d window{stride, padding, dilation};
  const auto sizes = check_depthwise(kOp, input, "weight", weight, "bias", bias, window);
  check_activation_and_precision(kOp, activation, precision);
  check_conv2d_backward(kOp, grad_output, input, sizes, output_mask, 3);
  return depthwise_backward<DepthwiseCpu>(kOp, grad_output, input, weight, bias, window,
                                          Activation(activation), Precision(precision),
                                          output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kernelopt, m) {
  m.def(
      "depthwise_conv2d(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, int activation=0, int precision=0) -> Tensor");
  m.def(
      "depthwise_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor? bias, "
      "SymInt[] stride, SymInt[] padding, SymInt[] dilation, int activation=0, int precision=0, "
      "bool[3] output_mask=[True, True, True]) -> "
      "(Tensor grad_input, Tensor grad_weight, Tensor grad_bias)");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CPU, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&depthwise_conv2d_cpu));
  m.impl("depthwise_conv2d_backward", TORCH_BOX(&depthwise_conv2d_backward_cpu));
}

}  // namespace kernelopt
