// depthwise_conv2d: checks and the convolution itself as plain functions, for the op's own entries
// and for the separable family.
#pragma once

#include "common/convolution.h"
#include "common/tensor.h"
#include "elementwise/elementwise.h"

#include <optional>
#include <tuple>
#include <vector>

namespace kernelopt {

using Gradients = std::tuple<Tensor, Tensor, Tensor>;  // grad_input, grad_weight, grad_bias

/// Stride, padding and dilation of a 2-D convolution, each [height, width].
struct Window2d {
  IntList stride;
  IntList padding;
  IntList dilation;
};

/// A batch of images: 4-D, at least one channel; height and width at least 1 unless the batch is
/// empty.
void check_conv2d_input(const char* op, const Tensor& input);

/// [N, C * multiplier, OH, OW]; raises where the kernel does not fit the padded input.
std::vector<int64_t> depthwise_output_sizes(const char* op, const Tensor& input,
                                            const Tensor& weight, const Window2d& window);

/// Checks input, weight [C * multiplier, 1, KH, KW], bias and window of a depthwise convolution.
/// @param weight_name, bias_name  what the op calls them
/// @return the output's shape
std::vector<int64_t> check_depthwise(const char* op, const Tensor& input, const char* weight_name,
                                     const Tensor& weight, const char* bias_name,
                                     const std::optional<Tensor>& bias, const Window2d& window);

/// Checks a backward op's grad_output against the forward's output, and its mask.
void check_conv2d_backward(const char* op, const Tensor& grad_output, const Tensor& input,
                           IntList output_sizes, const BoolList& output_mask, size_t gradients);

/// activation(depthwise convolution) by ATen's convolution, in the format of `input`.
Tensor depthwise_forward_aten(const char* op, const Tensor& input, const Tensor& weight,
                              const std::optional<Tensor>& bias, const Window2d& window,
                              Activation activation, const ActivationFunctions& functions);

/// Gradients of the convolution without its activation by ATen's: grad_input in the format of
/// `input`, the others contiguous, 0-element where the mask does not ask.
Gradients depthwise_gradients_aten(const char* op, const Tensor& grad_z, const Tensor& input,
                                   const Tensor& weight, const Window2d& window,
                                   const BoolList& output_mask,
                                   const ActivationFunctions& functions);

/// The convolution without its checks, on one kind of device. On CUDA the default precision leaves
/// to ATen what its operators compute faster; kIeee keeps to the kernels here.
struct DepthwiseCpu {
  /// activation(depthwise convolution), in the format of `input`.
  static Tensor forward(const char* op, const Tensor& input, const Tensor& weight,
                        const std::optional<Tensor>& bias, const Window2d& window,
                        Activation activation, Precision precision = Precision::kIeee);
  /// Gradients of the convolution without its activation: grad_input in the format of `input`, the
  /// others contiguous, 0-element where the mask does not ask.
  static Gradients gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                             const Tensor& weight, const Window2d& window,
                             const BoolList& output_mask, Precision precision = Precision::kIeee);
  static constexpr auto activation_forward = activation_cpu;
  static constexpr auto activation_backward = activation_backward_cpu;
};

struct DepthwiseCuda {
  static Tensor forward(const char* op, const Tensor& input, const Tensor& weight,
                        const std::optional<Tensor>& bias, const Window2d& window,
                        Activation activation, Precision precision = Precision::kIeee);
  static Gradients gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                             const Tensor& weight, const Window2d& window,
                             const BoolList& output_mask, Precision precision = Precision::kIeee);
  static constexpr auto activation_forward = activation_cuda;
  static constexpr auto activation_backward = activation_backward_cuda;
};

/// grad * activation'(z), in a new tensor with the strides of z.
template <typename Convolution>
Tensor activation_gradient(const char* op, const Tensor& grad, const Tensor& z,
                           Activation activation) {
  Tensor grad_z = empty_strided(op, z.sizes(), z.strides(), z.scalar_type(), z);
  Convolution::activation_backward(op, grad, z, grad_z, activation);
  return grad_z;
}

/// Gradients of activation(depthwise convolution): nothing but the inputs is saved by a forward,
/// so z, the value before the activation, is computed again.
template <typename Depthwise>
Gradients depthwise_backward(const char* op, const Tensor& grad_output, const Tensor& input,
                             const Tensor& weight, const std::optional<Tensor>& bias,
                             const Window2d& window, Activation activation, Precision precision,
                             const BoolList& output_mask) {
  Tensor grad_z = grad_output;
  if (activation != Activation::kNone) {
    const Tensor z = Depthwise::forward(op, input, weight, bias, window, Activation::kNone);
    grad_z = activation_gradient<Depthwise>(op, grad_output, z, activation);
  }
  return Depthwise::gradients(op, grad_z, input, weight, window, output_mask, precision);
}

}  // namespace kernelopt
