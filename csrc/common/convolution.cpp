#include "common/convolution.h"

#include "common/tensor.h"

namespace kernelopt {
namespace {

/// Extent of a kernel with its dilation: dilation * (kernel_size - 1) + 1.
int64_t dilated_extent(const char* op, int64_t kernel_size, int64_t dilation) {
  const int64_t reach = checked_mul(op, "dilation * (kernel_size - 1)", dilation, kernel_size - 1);
  return checked_add(op, "the dilated kernel's extent", reach, 1);
}

}  // namespace

int64_t convolution_output_size(const char* op, int64_t input, int64_t kernel_size, int64_t stride,
                                int64_t padding, int64_t dilation) {
  const int64_t extent = dilated_extent(op, kernel_size, dilation);
  const int64_t padded =
      checked_add(op, "the padded input", input, checked_mul(op, "2 * padding", 2, padding));
  KERNELOPT_CHECK(padded >= extent, op, "expected the kernel to fit the padded input, got ", padded,
                  " elements (", input, " and a padding of ", padding, ") for a kernel of ", extent,
                  " (kernel_size ", kernel_size, ", dilation ", dilation, ")");
  return (padded - extent) / stride + 1;
}

int64_t conv_transpose_output_size(const char* op, int64_t input, int64_t kernel_size,
                                   int64_t stride, int64_t padding, int64_t output_padding,
                                   int64_t dilation) {
  const int64_t extent = dilated_extent(op, kernel_size, dilation);
  const int64_t spread = checked_mul(op, "(input - 1) * stride", input - 1, stride);
  const int64_t full =
      checked_add(op, "the output", checked_add(op, "the output", spread, extent), output_padding);
  const int64_t size =
      checked_add(op, "the output", full, -checked_mul(op, "2 * padding", 2, padding));
  KERNELOPT_CHECK(size >= 0, op, "expected an output of at least 0 elements, got ", size,
                  " (input ", input, ", kernel_size ", kernel_size, ", stride ", stride,
                  ", padding ", padding, ", output_padding ", output_padding, ", dilation ",
                  dilation, ")");
  return size;
}

void check_bias(const char* op, const char* name, const std::optional<Tensor>& bias,
                int64_t channels, const Tensor& input) {
  if (!bias.has_value()) {
    return;
  }
  check_tensor(op, name, *bias);
  check_matches(op, name, *bias, "input", input);
  check_sizes(op, name, *bias, std::vector<int64_t>{channels});
}

void check_activation_and_precision(const char* op, int64_t activation, int64_t precision) {
  check_enum(op, "activation", activation, kNumActivations);
  check_enum(op, "precision", precision, kNumPrecisions);
}

Tensor aten_convolution(const Tensor& input, const Tensor& weight,
                        const std::optional<Tensor>& bias, IntList stride, IntList padding,
                        IntList dilation, bool transposed, IntList output_padding, int64_t groups) {
  return call_operator<Tensor>("aten::convolution", input, weight, bias, stride, padding, dilation,
                               transposed, output_padding, groups);
}

std::tuple<Tensor, Tensor, Tensor> aten_convolution_backward(
    const char* op, const Tensor& grad_output, const Tensor& input, const Tensor& weight,
    IntList stride, IntList padding, IntList dilation, bool transposed, IntList output_padding,
    int64_t groups, const BoolList& output_mask) {
  const int64_t channels = grad_output.size(1);
  const std::optional<std::vector<int64_t>> bias_sizes{std::vector<int64_t>{channels}};
  auto gradients = call_operator<std::tuple<Tensor, Tensor, Tensor>>(
      "aten::convolution_backward", grad_output, input, weight, bias_sizes, stride, padding,
      dilation, transposed, output_padding, groups, output_mask);
  const auto present = [&](Tensor& gradient, bool wanted) {
    return wanted && gradient.defined()
               ? gradient
               : empty_contiguous(op, std::vector<int64_t>{0}, input.scalar_type(), input);
  };
  return {present(std::get<0>(gradients), output_mask[0]),
          present(std::get<1>(gradients), output_mask[1]),
          present(std::get<2>(gradients), output_mask[2])};
}

}  // namespace kernelopt
