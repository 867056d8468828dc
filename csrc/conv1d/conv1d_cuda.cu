#include "conv1d/conv1d_cuda.h"

#include "common/device.h"
#include "conv1d/conv1d_aten_policy.h"
#include "conv1d/conv1d_policy.h"
#include "elementwise/elementwise.h"
#include "separable/pointwise_product.h"

namespace kernelopt {

void conv1d_forward_cuda(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  if (problem.batch * problem.groups * problem.out_channels * problem.out_length == 0) {
    return;
  }
  const torch::stable::accelerator::DeviceGuard guard(like.get_device_index());
  const Conv1dPhases phases = Conv1dPhases::of(problem);
  if (launch_conv1d_columns(op, problem, like) || launch_conv1d_wgmma(op, problem, phases, like) ||
      launch_conv1d_toeplitz(op, problem, like) || launch_conv1d_phases(op, problem, like)) {
    return;
  }
  if (!phases.cover_output) {
    launch_conv1d_fill(op, problem, like);
  }
  if (launch_conv1d_mma(op, problem, phases, like) || launch_conv1d_sliding(op, problem, like)) {
    return;
  }
  switch (choose_algorithm(problem, phases)) {
    case Conv1dAlgorithm::kDirect: launch_conv1d_direct(op, problem, phases, like); break;
    case Conv1dAlgorithm::kFlatGemm:
      launch_conv1d_implicit_gemm(op, problem, phases, true, like);
      break;
    case Conv1dAlgorithm::kSquareGemm:
      launch_conv1d_implicit_gemm(op, problem, phases, false, like);
      break;
  }
}

Tensor conv1d_bias_gradient_cuda(const char* op, const Tensor& grad_output, bool ready) {
  const std::vector<int64_t> column{grad_output.size(1), 1}, sizes{grad_output.size(1)};
  const auto sum = ready ? sum_to_size_beside_cuda : sum_to_size_cuda;
  return torch::stable::view(sum(op, grad_output, column, 1.0), sizes);
}

namespace {

void clear(const char* op, const Tensor& tensor) {
  const torch::stable::accelerator::DeviceGuard guard(tensor.get_device_index());
  const size_t bytes = static_cast<size_t>(tensor.numel() * element_size(tensor.scalar_type()));
  KERNELOPT_CUDA_CHECK(
      op, cudaMemsetAsync(tensor.mutable_data_ptr(), 0, bytes, current_stream(tensor)));
}

Strides1d strides_of(const Tensor& tensor) {
  return {tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

/// A convolution of `input` as `arguments` say, `transposed` or not; its memory is not named yet.
Conv1dProblem describe(const Tensor& input, int64_t kernel_size, int64_t out_channels,
                       int64_t out_length, const Conv1dArguments& arguments, bool transposed,
                       Activation activation) {
  Conv1dProblem problem{};
  problem.batch = input.size(0);
  problem.groups = arguments.groups;
  problem.in_channels = input.size(1) / arguments.groups;
  problem.out_channels = out_channels / arguments.groups;
  problem.in_length = input.size(2);
  problem.out_length = out_length;
  problem.kernel_size = kernel_size;
  problem.stride = arguments.stride;
  problem.padding = arguments.padding;
  problem.dilation = arguments.dilation;
  problem.transposed = transposed;
  problem.activation = activation;
  problem.precision = arguments.precision;
  return problem;
}

/// Computes a problem into `output`.
void compute(const char* op, Conv1dProblem problem, const Tensor& input, const Tensor& weight,
             const std::optional<Tensor>& bias, const Tensor& output) {
  const Tensor weights = contiguous_cuda(op, weight);
  std::optional<Tensor> biases;
  if (bias.has_value()) {
    biases = contiguous_cuda(op, *bias);
  }
  problem.input = input.const_data_ptr();
  problem.weight = weights.const_data_ptr();
  problem.bias = biases.has_value() ? biases->const_data_ptr() : nullptr;
  problem.output = output.mutable_data_ptr();
  problem.input_strides = strides_of(input);
  problem.output_strides = strides_of(output);
  conv1d_forward_cuda(op, problem, input);
}

/// Whether ATen is to compute a problem of tensors like this one.
template <typename Problem, typename... Use>
bool goes_to_aten(const Problem& problem, const Tensor& like, Use... use) {
  return problem.precision != Precision::kIeee && like.scalar_type() != ScalarType::Double &&
         aten_is_faster(problem, static_cast<int>(element_size(like.scalar_type())),
                        compute_capability(like.get_device_index()), use...);
}

Conv1dProblem describe_forward(const Tensor& input, const Tensor& weight,
                               const Conv1dArguments& arguments, Activation activation) {
  return describe(input, weight.size(2), arguments.out_channels, arguments.out_length, arguments,
                  arguments.transposed, activation);
}

/// The forward by the kernels here.
Tensor forward(const char* op, const Conv1dProblem& problem, const Tensor& input,
               const Tensor& weight, const std::optional<Tensor>& bias,
               const Conv1dArguments& arguments) {
  const Tensor output = empty_conv1d_output(op, input, arguments);
  if (output.numel() > 0 && !multiply_rows_of_one_tap(op, problem, input, weight, bias, output)) {
    compute(op, problem, input, weight, bias, output);
  }
  return output;
}

/// Convolution of grad_z the other way round, with the same weight: its layout fits both ways.
/// @param[out] ours  whether kernels here compute it, the first of them after all that is in front
Tensor input_gradient(const char* op, const Tensor& grad_z, const Tensor& input,
                      const Tensor& weight, const Conv1dArguments& arguments, bool& ours) {
  const Conv1dProblem problem = describe(grad_z, weight.size(2), input.size(1), input.size(2),
                                         arguments, !arguments.transposed, Activation::kNone);
  ours = !goes_to_aten(problem, input, Conv1dUse::kInputGradient);
  if (!ours) {
    return std::get<0>(conv1d_gradients_aten(op, grad_z, input, weight, arguments,
                                             {true, false, false}, kActivationCuda));
  }
  Tensor gradient = empty_contiguous(op, input.sizes(), input.scalar_type(), input);
  compute(op, problem, grad_z, weight, std::nullopt, gradient);
  return gradient;
}

Tensor weight_gradient(const char* op, const Tensor& grad_z, const Tensor& input,
                       const Tensor& weight, const Conv1dArguments& arguments, bool ready) {
  const Tensor& steady = arguments.transposed ? input : grad_z;
  const Tensor& shifted = arguments.transposed ? grad_z : input;
  Conv1dWeightGradientProblem problem{};
  problem.steady = steady.const_data_ptr();
  problem.shifted = shifted.const_data_ptr();
  problem.steady_strides = strides_of(steady);
  problem.shifted_strides = strides_of(shifted);
  problem.batch = input.size(0);
  problem.groups = arguments.groups;
  problem.steady_channels = steady.size(1) / arguments.groups;
  problem.shifted_channels = shifted.size(1) / arguments.groups;
  problem.steady_length = steady.size(2);
  problem.shifted_length = shifted.size(2);
  problem.kernel_size = weight.size(2);
  problem.stride = arguments.stride;
  problem.padding = arguments.padding;
  problem.dilation = arguments.dilation;
  problem.precision = arguments.precision;
  problem.operands_ready = ready;
  if (goes_to_aten(problem, input)) {
    return std::get<1>(conv1d_gradients_aten(op, grad_z, input, weight, arguments,
                                             {false, true, false}, kActivationCuda));
  }
  Tensor gradient = empty_contiguous(op, weight.sizes(), weight.scalar_type(), weight);
  conv1d_weight_gradient_cuda(op, problem, gradient);
  return gradient;
}

}  // namespace

Tensor conv1d_forward_cuda(const char* op, const Tensor& input, const Tensor& weight,
                           const std::optional<Tensor>& bias, const Conv1dArguments& arguments) {
  const Conv1dProblem problem = describe_forward(input, weight, arguments, arguments.activation);
  return goes_to_aten(problem, input) ? conv1d_forward_aten_cuda(op, input, weight, bias, arguments)
                                      : forward(op, problem, input, weight, bias, arguments);
}

Conv1dGradients conv1d_backward_cuda(const char* op, const Tensor& grad_output, const Tensor& input,
                                     const Tensor& weight, const std::optional<Tensor>& bias,
                                     const Conv1dArguments& arguments,
                                     const BoolList& output_mask) {
  if (input.numel() == 0 || grad_output.numel() == 0) {
    return zero_conv1d_gradients(op, input, weight, arguments, output_mask, clear);
  }
  Tensor grad_z = grad_output;
  if (arguments.activation != Activation::kNone) {
    // z, then over it; by the kernels here, because ATen's convolution follows autocast.
    grad_z = forward(op, describe_forward(input, weight, arguments, Activation::kNone), input,
                     weight, bias, arguments);
    activation_backward_cuda(op, grad_output, grad_z, grad_z, arguments.activation);
  }
  const auto none = [&] {
    return empty_contiguous(op, std::vector<int64_t>{0}, input.scalar_type(), input);
  };
  // The first kernel waits for all in front: what the others read is complete when it begins.
  bool ready = false;
  const Tensor grad_input =
      output_mask[0] ? input_gradient(op, grad_z, input, weight, arguments, ready) : none();
  const Tensor grad_bias = output_mask[2] ? conv1d_bias_gradient_cuda(op, grad_z, ready) : none();
  ready = ready || output_mask[2];
  return {grad_input,
          output_mask[1] ? weight_gradient(op, grad_z, input, weight, arguments, ready) : none(),
          grad_bias};
}

namespace {

Tensor conv1d_cuda(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                   IntList stride, IntList padding, IntList dilation, int64_t groups,
                   int64_t activation, int64_t precision) {
  constexpr const char* kOp = "conv1d";
  const Conv1dArguments arguments = check_conv1d(kOp, input, weight, bias, stride, padding,
                                                 dilation, groups, activation, precision);
  if (!kernels_available(input)) {
    return call_aten_path<Tensor>(kOp, input, weight, bias, stride, padding, dilation, groups,
                                  activation, precision);
  }
  return conv1d_forward_cuda(kOp, input, weight, bias, arguments);
}

Conv1dGradients conv1d_backward_cuda_op(const Tensor& grad_output, const Tensor& input,
                                        const Tensor& weight, const std::optional<Tensor>& bias,
                                        IntList stride, IntList padding, IntList dilation,
                                        int64_t groups, int64_t activation, int64_t precision,
                                        const BoolList& output_mask) {
  constexpr const char* kOp = "conv1d_backward";
  const Conv1dArguments arguments = check_conv1d(kOp, input, weight, bias, stride, padding,
                                                 dilation, groups, activation, precision);
  check_conv1d_gradient(kOp, grad_output, input, arguments, output_mask);
  if (!kernels_available(input)) {
    return call_aten_path<Conv1dGradients>(kOp, grad_output, input, weight, bias, stride, padding,
                                           dilation, groups, activation, precision, output_mask);
  }
  return conv1d_backward_cuda(kOp, grad_output, input, weight, bias, arguments, output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CUDA, m) {
  m.impl("conv1d", TORCH_BOX(&conv1d_cuda));
  m.impl("conv1d_backward", TORCH_BOX(&conv1d_backward_cuda_op));
}

}  // namespace kernelopt
