// separable_conv2d: its arguments, their checks and its backward, shared by the CPU and the CUDA
// implementation.
#pragma once

#include "depthwise/depthwise_conv2d.h"
#include "separable/pointwise_conv2d.h"
#include "separable/relu_gradient.h"

namespace kernelopt {

// grad_input, grad_depthwise_weight, grad_depthwise_bias, grad_pointwise_weight,
// grad_pointwise_bias
using SeparableGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

struct SeparableArguments {
  const Tensor& input;
  const Tensor& depthwise_weight;               // [C * multiplier, 1, KH, KW]
  const std::optional<Tensor>& depthwise_bias;  // [C * multiplier]
  const Tensor& pointwise_weight;               // [C_out, C * multiplier, 1, 1]
  const std::optional<Tensor>& pointwise_bias;  // [C_out]
  Window2d window;
  Activation depthwise_activation;
  Activation activation;
  Precision precision;
};

/// Checks everything.
/// @return the output's shape [N, C_out, OH, OW]
std::vector<int64_t> check_separable(const char* op, const SeparableArguments& arguments);

/// Gradients of activation(pointwise(depthwise_activation(depthwise(input)))), out of the two
/// convolutions; both values before an activation are computed again, but for a ReLU in between,
/// whose derivative its result tells as well.
template <typename Depthwise, typename Pointwise>
SeparableGradients separable_backward(const char* op, const Tensor& grad_output,
                                      const SeparableArguments& arguments,
                                      const BoolList& output_mask) {
  const Tensor& input = arguments.input;
  const Activation depthwise_activation = arguments.depthwise_activation;
  const bool depthwise_needed = output_mask[0] || output_mask[1] || output_mask[2];
  const bool relu = depthwise_activation == Activation::kRelu;
  const Tensor z =
      Depthwise::forward(op, input, arguments.depthwise_weight, arguments.depthwise_bias,
                         arguments.window, relu ? Activation::kRelu : Activation::kNone);
  Tensor hidden = z;
  if (depthwise_activation != Activation::kNone && !relu) {
    hidden = empty_strided(op, z.sizes(), z.strides(), z.scalar_type(), z);
    Depthwise::activation_forward(op, z, hidden, depthwise_activation);
  }
  auto [grad_hidden, grad_pointwise_weight, grad_pointwise_bias] = pointwise_backward<Pointwise>(
      op, grad_output, hidden, arguments.pointwise_weight, arguments.pointwise_bias,
      arguments.activation, arguments.precision,
      BoolList{depthwise_needed, output_mask[3], output_mask[4]});
  if (!depthwise_needed) {
    const auto none = [&] {
      return empty_contiguous(op, std::vector<int64_t>{0}, input.scalar_type(), input);
    };
    return {none(), none(), none(), grad_pointwise_weight, grad_pointwise_bias};
  }
  std::optional<Tensor> sums;  // the depthwise bias' gradient
  if constexpr (Pointwise::kReluGradientSums) {
    if (relu && output_mask[2] && grad_hidden.numel() > 0) {
      sums = relu_gradient_with_sums(op, grad_hidden, hidden);
    }
  }
  if (!sums.has_value() && depthwise_activation != Activation::kNone) {
    Depthwise::activation_backward(op, grad_hidden, z, grad_hidden, depthwise_activation);
  }
  auto [grad_input, grad_depthwise_weight, grad_depthwise_bias] = Depthwise::gradients(
      op, grad_hidden, input, arguments.depthwise_weight, arguments.window,
      BoolList{output_mask[0], output_mask[1], output_mask[2] && !sums.has_value()},
      arguments.precision);
  return {grad_input, grad_depthwise_weight, sums.has_value() ? *sums : grad_depthwise_bias,
          grad_pointwise_weight, grad_pointwise_bias};
}

}  // namespace kernelopt
