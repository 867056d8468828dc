// pointwise_conv2d: checks and the convolution itself as plain functions, for the op's own entries
// and for separable_conv2d.
#pragma once

#include "depthwise/depthwise_conv2d.h"

namespace kernelopt {

/// Checks the weight [C_out, C_in, 1, 1] and the bias of a pointwise convolution.
/// @param channels  C_in
/// @param weight_name, bias_name  what the op calls them
void check_pointwise_weight(const char* op, const Tensor& input, int64_t channels,
                            const char* weight_name, const Tensor& weight, const char* bias_name,
                            const std::optional<Tensor>& bias);

/// Checks input, weight and bias of pointwise_conv2d.
/// @return the output's shape [N, C_out, H, W]
std::vector<int64_t> check_pointwise(const char* op, const Tensor& input, const Tensor& weight,
                                     const std::optional<Tensor>& bias);

/// activation(pointwise convolution) by ATen's convolution, in the format of `input`.
Tensor pointwise_forward_aten(const char* op, const Tensor& input, const Tensor& weight,
                              const std::optional<Tensor>& bias, Activation activation,
                              const ActivationFunctions& functions);

/// Gradients of the convolution without its activation by ATen's: grad_input in the format of
/// `input`, the others contiguous, 0-element where the mask does not ask.
Gradients pointwise_gradients_aten(const char* op, const Tensor& grad_z, const Tensor& input,
                                   const Tensor& weight, const BoolList& output_mask,
                                   const ActivationFunctions& functions);

/// The convolution without its checks, on one kind of device.
struct PointwiseCpu {
  /// activation(pointwise convolution), in the format of `input`.
  static Tensor forward(const char* op, const Tensor& input, const Tensor& weight,
                        const std::optional<Tensor>& bias, Activation activation,
                        Precision precision);
  /// Gradients of the convolution without its activation: grad_input in the format of `input`, the
  /// others contiguous, 0-element where the mask does not ask.
  static Gradients gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                             const Tensor& weight, Precision precision,
                             const BoolList& output_mask);
  static constexpr auto activation_backward = activation_backward_cpu;
  static constexpr bool kReluGradientSums = false;  // ATen's gradients have a bias' anyhow
};

struct PointwiseCuda {
  static Tensor forward(const char* op, const Tensor& input, const Tensor& weight,
                        const std::optional<Tensor>& bias, Activation activation,
                        Precision precision);
  /// The same, written to `output`, which has the format `channels_last` says.
  static void forward_into(const char* op, const Tensor& input, const Tensor& weight,
                           const std::optional<Tensor>& bias, Activation activation,
                           Precision precision, bool channels_last, const Tensor& output);
  /// Whether tensor cores are worth having for an output in one of the two formats.
  static bool on_tensor_cores(const Tensor& output, const Tensor& weight, Precision precision,
                              bool channels_last);
  /// Whether they are so few that a kernel of their own is faster than any that is fused.
  static bool has_few_pixels(const Tensor& output, const Tensor& weight, Precision precision,
                             bool channels_last);
  static Gradients gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                             const Tensor& weight, Precision precision,
                             const BoolList& output_mask);
  static constexpr auto activation_backward = activation_backward_cuda;
  static constexpr bool kReluGradientSums = true;  // relu_gradient_with_sums() serves
};

/// Gradients of activation(pointwise convolution).
template <typename Pointwise>
Gradients pointwise_backward(const char* op, const Tensor& grad_output, const Tensor& input,
                             const Tensor& weight, const std::optional<Tensor>& bias,
                             Activation activation, Precision precision,
                             const BoolList& output_mask) {
  Tensor grad_z = grad_output;
  if (activation != Activation::kNone) {
    const Tensor z = Pointwise::forward(op, input, weight, bias, Activation::kNone, precision);
    grad_z = activation_gradient<Pointwise>(op, grad_output, z, activation);
  }
  return Pointwise::gradients(op, grad_z, input, weight, precision, output_mask);
}

}  // namespace kernelopt
