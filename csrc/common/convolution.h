// What the convolution families share on the host: output sizes, ATen's own convolution, and the
// checks of the arguments they have in common.
#pragma once

#include "common/check.h"
#include "common/math.h"

#include <optional>
#include <vector>

namespace kernelopt {

/// (input + 2 * padding - dilation * (kernel_size - 1) - 1) / stride + 1, every step checked for
/// overflow; raises where the kernel does not fit the padded input. All of `stride`, `dilation` and
/// `kernel_size` at least 1, `padding` at least 0, checked by the caller.
int64_t convolution_output_size(const char* op, int64_t input, int64_t kernel_size, int64_t stride,
                                int64_t padding, int64_t dilation);

/// (input - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1, checked
/// the same way; raises where it is negative.
int64_t conv_transpose_output_size(const char* op, int64_t input, int64_t kernel_size,
                                   int64_t stride, int64_t padding, int64_t output_padding,
                                   int64_t dilation);

/// `bias`, where there is one, is a vector of `channels` elements that matches `input`.
void check_bias(const char* op, const char* name, const std::optional<Tensor>& bias,
                int64_t channels, const Tensor& input);

/// Both enumerations of a convolution op.
void check_activation_and_precision(const char* op, int64_t activation, int64_t precision);

/// aten::convolution, on any device.
Tensor aten_convolution(const Tensor& input, const Tensor& weight,
                        const std::optional<Tensor>& bias, IntList stride, IntList padding,
                        IntList dilation, bool transposed, IntList output_padding, int64_t groups);

/// aten::convolution_backward. A gradient that `output_mask` does not ask for is a 0-element
/// tensor.
/// @return grad_input, grad_weight, grad_bias
std::tuple<Tensor, Tensor, Tensor> aten_convolution_backward(
    const char* op, const Tensor& grad_output, const Tensor& input, const Tensor& weight,
    IntList stride, IntList padding, IntList dilation, bool transposed, IntList output_padding,
    int64_t groups, const BoolList& output_mask);

}  // namespace kernelopt
