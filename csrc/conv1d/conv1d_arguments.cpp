#include "conv1d/conv1d.h"

namespace kernelopt {

void check_conv1d_operands(const char* op, const Tensor& input, const Tensor& weight,
                           int64_t groups, int64_t activation, int64_t precision) {
  check_tensor(op, "input", input);
  check_tensor(op, "weight", weight);
  check_rank(op, "input", input, 3);
  check_rank(op, "weight", weight, 3);
  check_matches(op, "weight", weight, "input", input);
  check_activation_and_precision(op, activation, precision);
  KERNELOPT_CHECK(groups >= 1, op, "expected groups to be at least 1, got ", groups);
  KERNELOPT_CHECK(weight.size(0) >= groups && weight.size(0) % groups == 0, op,
                  "expected the first dimension of weight to be a multiple of groups, ", groups,
                  ", and at least that, got shape ", format_list(weight.sizes()));
  KERNELOPT_CHECK(weight.size(2) >= 1, op, "expected weight to have a kernel_size of at least 1, ",
                  "got shape ", format_list(weight.sizes()));
  KERNELOPT_CHECK(input.size(2) > 0 || input.size(0) == 0 || input.size(1) == 0, op,
                  "expected input to have a length of at least 1, got shape ",
                  format_list(input.sizes()));
}

int64_t single_value(const char* op, const char* name, IntList values, int64_t minimum) {
  check_int_list(op, name, values, 1, minimum);
  return values[0];
}

std::vector<int64_t> conv1d_output_sizes(const Tensor& input, const Conv1dArguments& arguments) {
  return {input.size(0), arguments.out_channels, arguments.out_length};
}

Conv1dArguments check_conv1d(const char* op, const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, IntList stride, IntList padding,
                             IntList dilation, int64_t groups, int64_t activation,
                             int64_t precision) {
  check_conv1d_operands(op, input, weight, groups, activation, precision);
  Conv1dArguments arguments{};
  arguments.stride = single_value(op, "stride", stride, 1);
  arguments.padding = single_value(op, "padding", padding, 0);
  arguments.dilation = single_value(op, "dilation", dilation, 1);
  arguments.groups = groups;
  arguments.activation = static_cast<Activation>(activation);
  arguments.precision = static_cast<Precision>(precision);
  const int64_t channels = checked_mul(op, "the input channels", weight.size(1), groups);
  KERNELOPT_CHECK(input.size(1) == channels, op, "expected input to have ", channels,
                  " channels (weight of shape ", format_list(weight.sizes()), ", groups ", groups,
                  "), got shape ", format_list(input.sizes()));
  check_bias(op, "bias", bias, weight.size(0), input);
  arguments.out_channels = channels == 0 ? 0 : weight.size(0);
  arguments.out_length = convolution_output_size(
      op, input.size(2), weight.size(2), arguments.stride, arguments.padding, arguments.dilation);
  checked_bytes(op, conv1d_output_sizes(input, arguments), input.scalar_type());
  return arguments;
}

void check_conv1d_gradient(const char* op, const Tensor& grad_output, const Tensor& input,
                           const Conv1dArguments& arguments, const BoolList& output_mask) {
  check_tensor(op, "grad_output", grad_output);
  check_matches(op, "grad_output", grad_output, "input", input);
  check_sizes(op, "grad_output", grad_output, conv1d_output_sizes(input, arguments));
  KERNELOPT_CHECK(output_mask.size() == 3, op, "expected output_mask to have 3 values, got ",
                  output_mask.size());
}

Tensor empty_conv1d_output(const char* op, const Tensor& input, const Conv1dArguments& arguments) {
  return empty_contiguous(op, conv1d_output_sizes(input, arguments), input.scalar_type(), input);
}

Conv1dGradients zero_conv1d_gradients(const char* op, const Tensor& input, const Tensor& weight,
                                      const Conv1dArguments& arguments, const BoolList& output_mask,
                                      void (*clear)(const char* op, const Tensor& tensor)) {
  const auto zeros = [&](bool wanted, IntList sizes) {
    const std::vector<int64_t> none{0};
    Tensor gradient = empty_contiguous(op, wanted ? sizes : none, input.scalar_type(), input);
    if (gradient.numel() > 0) {
      clear(op, gradient);
    }
    return gradient;
  };
  const int64_t bias_channels = arguments.transposed ? arguments.out_channels : weight.size(0);
  return {zeros(output_mask[0], input.sizes()), zeros(output_mask[1], weight.sizes()),
          zeros(output_mask[2], std::vector<int64_t>{bias_channels})};
}

}  // namespace kernelopt
