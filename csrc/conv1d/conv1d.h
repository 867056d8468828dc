// One-dimensional convolution on the host: arguments, checks and outputs, shared by the CPU and the
// CUDA implementation of conv1d and of conv_transpose1d.
#pragma once

#include "common/convolution.h"
#include "common/tensor.h"
#include "elementwise/elementwise.h"

#include <optional>
#include <tuple>

namespace kernelopt {

using Conv1dGradients = std::tuple<Tensor, Tensor, Tensor>;  // of input, weight and bias

/// The checked arguments of a convolution, either way round.
struct Conv1dArguments {
  int64_t stride;
  int64_t padding;
  int64_t dilation;
  int64_t output_padding;  // 0 unless transposed
  int64_t groups;
  bool transposed;
  Activation activation;
  Precision precision;
  int64_t out_channels;
  int64_t out_length;
};

/// What both directions ask of input [N, C_in, L] and weight (rank 3, a kernel_size of at least 1),
/// of groups, and of the two enumerations.
void check_conv1d_operands(const char* op, const Tensor& input, const Tensor& weight,
                           int64_t groups, int64_t activation, int64_t precision);

/// A list argument of one value, at least `minimum`; returns the value.
int64_t single_value(const char* op, const char* name, IntList values, int64_t minimum);

/// Checks every argument of conv1d: input [N, C_in, L], weight [C_out, C_in/groups, K], bias
/// [C_out]. The output is [N, C_out, L_out], or [N, 0, L_out] where C_in is 0, as torch has it.
Conv1dArguments check_conv1d(const char* op, const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, IntList stride, IntList padding,
                             IntList dilation, int64_t groups, int64_t activation,
                             int64_t precision);

/// Checks what a backward op has besides: grad_output in the shape of the output, three mask
/// values.
void check_conv1d_gradient(const char* op, const Tensor& grad_output, const Tensor& input,
                           const Conv1dArguments& arguments, const BoolList& output_mask);

/// [N, C_out, L_out]
std::vector<int64_t> conv1d_output_sizes(const Tensor& input, const Conv1dArguments& arguments);

/// An uninitialized contiguous output [N, C_out, L_out].
Tensor empty_conv1d_output(const char* op, const Tensor& input, const Conv1dArguments& arguments);

/// The gradients where input or output has no element: zeros, written by `clear`; 0-element where
/// not asked for.
Conv1dGradients zero_conv1d_gradients(const char* op, const Tensor& input, const Tensor& weight,
                                      const Conv1dArguments& arguments, const BoolList& output_mask,
                                      void (*clear)(const char* op, const Tensor& tensor));

/// activation(convolution) and the gradients of the convolution without its activation, by ATen's
/// convolution, of arguments with elements. Results are contiguous.
Tensor conv1d_forward_aten(const char* op, const Tensor& input, const Tensor& weight,
                           const std::optional<Tensor>& bias, const Conv1dArguments& arguments,
                           Activation activation, const ActivationFunctions& functions);
Conv1dGradients conv1d_gradients_aten(const char* op, const Tensor& grad_z, const Tensor& input,
                                      const Tensor& weight, const Conv1dArguments& arguments,
                                      const BoolList& output_mask,
                                      const ActivationFunctions& functions);

/// Both directions on the CPU, ATen's convolution beneath. Results are contiguous.
Tensor conv1d_forward_cpu(const char* op, const Tensor& input, const Tensor& weight,
                          const std::optional<Tensor>& bias, const Conv1dArguments& arguments);
Conv1dGradients conv1d_backward_cpu(const char* op, const Tensor& grad_output, const Tensor& input,
                                    const Tensor& weight, const std::optional<Tensor>& bias,
                                    const Conv1dArguments& arguments, const BoolList& output_mask);

}  // namespace kernelopt
