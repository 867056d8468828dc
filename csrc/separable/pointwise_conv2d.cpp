#include "separable/pointwise_conv2d.h"

namespace kernelopt {
namespace {

const std::vector<int64_t> kOnes{1, 1};
const std::vector<int64_t> kZeros{0, 0};

}  // namespace

void check_pointwise_weight(const char* op, const Tensor& input, int64_t channels,
                            const char* weight_name, const Tensor& weight, const char* bias_name,
                            const std::optional<Tensor>& bias) {
  check_tensor(op, weight_name, weight);
  check_matches(op, weight_name, weight, "input", input);
  check_rank(op, weight_name, weight, 4);
  KERNELOPT_CHECK(weight.size(0) > 0 && weight.size(1) == channels, op, "expected ", weight_name,
                  " to have at least 1 output channel and ", channels,
                  " input channels, got shape ", format_list(weight.sizes()));
  KERNELOPT_CHECK(weight.size(2) == 1 && weight.size(3) == 1, op, "expected ", weight_name,
                  " to have a kernel_size of 1, got shape ", format_list(weight.sizes()));
  check_bias(op, bias_name, bias, weight.size(0), input);
}

std::vector<int64_t> check_pointwise(const char* op, const Tensor& input, const Tensor& weight,
                                     const std::optional<Tensor>& bias) {
  check_conv2d_input(op, input);
  check_pointwise_weight(op, input, input.size(1), "weight", weight, "bias", bias);
  const auto output_size = [&](int64_t dim) {
    return convolution_output_size(op, input.size(dim), 1, 1, 0, 1);
  };
  return {input.size(0), weight.size(0), output_size(2), output_size(3)};
}

Tensor pointwise_forward_aten(const char* op, const Tensor& input, const Tensor& weight,
                              const std::optional<Tensor>& bias, Activation activation,
                              const ActivationFunctions& functions) {
  const Tensor z = aten_convolution(input, weight, bias, kOnes, kZeros, kOnes, false, kZeros, 1);
  return finish(op, z, strides_in_format_of(input, z.sizes()), activation, functions);
}

Gradients pointwise_gradients_aten(const char* op, const Tensor& grad_z, const Tensor& input,
                                   const Tensor& weight, const BoolList& output_mask,
                                   const ActivationFunctions& functions) {
  auto [grad_input, grad_weight, grad_bias] = aten_convolution_backward(
      op, grad_z, input, weight, kOnes, kZeros, kOnes, false, kZeros, 1, output_mask);
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

Tensor PointwiseCpu::forward(const char* op, const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, Activation activation, Precision) {
  return pointwise_forward_aten(op, input, weight, bias, activation, kActivationCpu);
}

Gradients PointwiseCpu::gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                                  const Tensor& weight, Precision, const BoolList& output_mask) {
  return pointwise_gradients_aten(op, grad_z, input, weight, output_mask, kActivationCpu);
}

namespace {

Tensor pointwise_conv2d_cpu(const Tensor& input, const Tensor& weight,
                            const std::optional<Tensor>& bias, int64_t activation,
                            int64_t precision) {
  constexpr const char* kOp = "pointwise_conv2d";
  check_pointwise(kOp, input, weight, bias);
  check_activation_and_precision(kOp, activation, precision);
  return PointwiseCpu::forward(kOp, input, weight, bias, Activation(activation),
                               Precision(precision));
}

Gradients pointwise_conv2d_backward_cpu(const Tensor& grad_output, const Tensor& input,
                                        const Tensor& weight, const std::optional<Tensor>& bias,
                                        int64_t activation, int64_t precision,
                                        const BoolList& output_mask) {
  constexpr const char* kOp = "pointwise_conv2d_backward";
  const auto sizes = check_pointwise(kOp, input, weight, bias);
  check_activation_and_precision(kOp, activation, precision);
  check_conv2d_backward(kOp, grad_output, input, sizes, output_mask, 3);
  return pointwise_backward<PointwiseCpu>(kOp, grad_output, input, weight, bias,
                                          Activation(activation), Precision(precision),
                                          output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(kernelopt, m) {
  m.def(
      "pointwise_conv2d(Tensor input, Tensor weight, Tensor? bias, int activation=0, "
      "int precision=0) -> Tensor");
  m.def(
      "pointwise_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor? bias, "
      "int activation=0, int precision=0, bool[3] output_mask=[True, True, True]) -> "
      "(Tensor grad_input, Tensor grad_weight, Tensor grad_bias)");
}

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CPU, m) {
  m.impl("pointwise_conv2d", TORCH_BOX(&pointwise_conv2d_cpu));
  m.impl("pointwise_conv2d_backward", TORCH_BOX(&pointwise_conv2d_backward_cpu));
}

}  // namespace kernelopt
