#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_aten_policy.h"
#include "depthwise/depthwise_conv2d.h"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_policy.h"
#include "depthwise/depthwise_shapes.h"
#include "depthwise/depthwise_weight_gradient_window.h"
#include "depthwise/depthwise_window_policy.h"

namespace kernelopt {
namespace {

/// An axis of the forward correlation. A stride between results of which there is one, or a
/// dilation between taps of which there is one, is 1: it has no effect, and any value is allowed.
DepthwiseAxis forward_axis(const Tensor& input, const Tensor& weight, IntList output_sizes,
                           const Window2d& window, int dim) {
  const int64_t output_size = output_sizes[2 + dim], kernel_size = weight.size(2 + dim);
  return {input.size(2 + dim), output_size,
          kernel_size,         output_size == 1 ? 1 : window.stride[dim],
          window.padding[dim], kernel_size == 1 ? 1 : window.dilation[dim]};
}

/// The axis of the input gradient: at stride 1 a correlation of the gradient with the flipped
/// kernel.
DepthwiseAxis gradient_axis(const DepthwiseAxis& forward, bool correlation) {
  const int64_t padding = correlation
                              ? forward.dilation * (forward.kernel_size - 1) - forward.padding
                              : forward.padding;
  return {forward.result_size, forward.source_size, forward.kernel_size, forward.stride, padding,
          forward.dilation};
}

/// The weight as [KH, KW, filters] in memory.
Tensor taps_first(const char* op, const Tensor& weight) {
  const int64_t filters = weight.size(0), kernel_width = weight.size(3);
  Tensor copy = empty_strided(op, weight.sizes(),
                              std::vector<int64_t>{1, filters * weight.size(2) * kernel_width,
                                                   kernel_width * filters, filters},
                              weight.scalar_type(), weight);
  copy_cuda(op, weight, copy);
  return copy;
}

/// Whether ATen is to compute a correlation or a gradient in the format of `input`.
/// @param plain  neither bias nor activation
bool goes_to_aten(const DepthwiseParams& params, const Tensor& input, bool plain,
                  Precision precision) {
  return precision != Precision::kIeee && input.scalar_type() != ScalarType::Double &&
         aten_is_faster(params, static_cast<int>(element_size(input.scalar_type())),
                        is_channels_last(input), plain,
                        compute_capability(input.get_device_index()));
}

}  // namespace

Tensor depthwise_kernel_weight(const char* op, const Tensor& weight, bool channels_last) {
  return channels_last ? taps_first(op, weight) : contiguous_cuda(op, weight);
}

DepthwiseParams depthwise_forward_params(const Tensor& input, const Tensor& weight,
                                         IntList output_sizes, const Window2d& window) {
  DepthwiseParams params{};
  params.batch = input.size(0);
  params.source_channels = input.size(1);
  params.result_channels = weight.size(0);
  params.filters = 1;
  params.multiplier = weight.size(0) / input.size(1);
  params.h = forward_axis(input, weight, output_sizes, window, 0);
  params.w = forward_axis(input, weight, output_sizes, window, 1);
  return params;
}

Tensor DepthwiseCuda::forward(const char* op, const Tensor& input, const Tensor& weight,
                              const std::optional<Tensor>& bias, const Window2d& window,
                              Activation activation, Precision precision) {
  const std::vector<int64_t> sizes = depthwise_output_sizes(op, input, weight, window);
  const DepthwiseParams params = depthwise_forward_params(input, weight, sizes, window);
  const bool plain = !bias.has_value() && activation == Activation::kNone;
  if (goes_to_aten(params, input, plain, precision)) {
    return depthwise_forward_aten(op, input, weight, bias, window, activation, kActivationCuda);
  }
  Tensor output = empty_in_format_of(op, input, sizes);
  if (output.numel() == 0) {
    return output;
  }
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const bool channels_last = is_channels_last(input);
  const Tensor source = in_format(op, input, channels_last);
  const Tensor filter = contiguous_cuda(op, weight);
  const std::optional<Tensor> dense_bias = contiguous_bias(op, bias);
  launch_depthwise_correlation(op, params,
                               {source, filter, dense_bias, output, channels_last, precision},
                               activation, current_stream(input));
  return output;
}

namespace {

/// @param grad  the gradient of the output, in the format of `input`
Tensor input_gradient(const char* op, const Tensor& grad, const Tensor& input, const Tensor& weight,
                      const Window2d& window, Precision precision) {
  const int64_t channels = input.size(1), filters = weight.size(0);
  const DepthwiseAxis h = forward_axis(input, weight, grad.sizes(), window, 0);
  const DepthwiseAxis w = forward_axis(input, weight, grad.sizes(), window, 1);
  const bool correlation = h.stride == 1 && w.stride == 1;
  const DepthwiseParams params{
      input.size(0),
      filters,
      channels,
      filters / channels,
      1,
      correlation,
      gradient_axis(h, correlation),
      gradient_axis(w, correlation),
  };
  if (goes_to_aten(params, input, true, precision)) {
    return std::get<0>(depthwise_gradients_aten(op, grad, input, weight, window,
                                                {true, false, false}, kActivationCuda));
  }
  Tensor grad_input = empty_in_format_of(op, input, input.sizes());
  if (grad_input.numel() > 0) {
    const bool channels_last = is_channels_last(input);
    const Tensor filter = contiguous_cuda(op, weight);
    const DepthwiseOperands operands{grad,       filter,        std::nullopt,
                                     grad_input, channels_last, precision};
    if (correlation) {
      launch_depthwise_correlation(op, params, operands, Activation::kNone, current_stream(input));
    } else {
      launch_depthwise_strided_gradient(op, params, operands, current_stream(input));
    }
  }
  return grad_input;
}

/// Whether copies of channels_last tensors and the contiguous sliding kernel are faster than the
/// channels_last weight gradient.
bool contiguous_gradient_pays(const DepthwiseWeightGradientParams& params, ScalarType dtype) {
  const int64_t taps = params.h.kernel_size * params.w.kernel_size;
  return dtype != ScalarType::Double && taps >= DepthwiseWeightGradientPolicy::kMinContiguousTaps &&
         params.h.stride == 1 && params.w.stride == 1 && params.h.dilation == 1 &&
         params.w.dilation == 1 &&
         dispatch_shape(SlidingShapes{}, params.h.kernel_size, params.w.kernel_size, 1, 1,
                        [](auto) {});
}

DepthwiseWeightGradientParams weight_gradient_params(const Tensor& grad, const Tensor& input,
                                                     const Tensor& weight, const Window2d& window) {
  const int64_t filters = weight.size(0);
  const DepthwiseAxis h = forward_axis(input, weight, grad.sizes(), window, 0);
  const DepthwiseAxis w = forward_axis(input, weight, grad.sizes(), window, 1);
  return {input.size(0), filters, filters / input.size(1), 1, 1, 1, 1, h, w};
}

Tensor weight_gradient(const char* op, const Tensor& grad, const Tensor& input,
                       const Tensor& weight, const Window2d& window, Precision precision) {
  const DepthwiseWeightGradientParams params = weight_gradient_params(grad, input, weight, window);
  const bool channels_last = is_channels_last(input) &&
                             !is_banded_gradient(params, input, precision) &&
                             !contiguous_gradient_pays(params, input.scalar_type());
  Tensor grad_weight = empty_contiguous(op, weight.sizes(), input.scalar_type(), input);
  launch_depthwise_weight_gradient(op, params, in_format(op, grad, channels_last),
                                   in_format(op, input, channels_last), grad_weight, channels_last,
                                   precision, current_stream(input));
  return grad_weight;
}

}  // namespace

Gradients DepthwiseCuda::gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                                   const Tensor& weight, const Window2d& window,
                                   const BoolList& output_mask, Precision precision) {
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const Tensor grad = in_format(op, grad_z, is_channels_last(input));
  const int element_bytes = static_cast<int>(element_size(input.scalar_type()));
  if (output_mask[0] && output_mask[1] && !is_channels_last(input)) {
    const DepthwiseWeightGradientParams params =
        weight_gradient_params(grad, input, weight, window);
    if (both_gradients_pay(params, element_bytes)) {
      const Tensor grad_input = empty_contiguous(op, input.sizes(), input.scalar_type(), input);
      const Tensor grad_weight = empty_contiguous(op, weight.sizes(), input.scalar_type(), input);
      DepthwiseWeightGradientParams flipped = params;
      flipped.h = gradient_axis(params.h, true);
      flipped.w = gradient_axis(params.w, true);
      if (launch_depthwise_both_gradients(op, flipped, grad, contiguous_cuda(op, input),
                                          contiguous_cuda(op, weight), grad_input, grad_weight,
                                          current_stream(input))) {
        return {grad_input, grad_weight, bias_gradient(op, grad, output_mask[2])};
      }
    }
  }
  return {output_mask[0] ? input_gradient(op, grad, input, weight, window, precision)
                         : no_gradient(op, input),
          output_mask[1] ? weight_gradient(op, grad, input, weight, window, precision)
                         : no_gradient(op, input),
          bias_gradient(op, grad, output_mask[2])};
}

namespace {

Tensor depthwise_conv2d_cuda(const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, IntList stride, IntList padding,
                             IntList dilation, int64_t activation, int64_t precision) {
  constexpr const char* kOp = "depthwise_conv2d";
  const Window2d window{stride, padding, dilation};
  check_depthwise(kOp, input, "weight", weight, "bias", bias, window);
  check_activation_and_precision(kOp, activation, precision);
  if (!kernels_available(input)) {
    return call_aten_path<Tensor>(kOp, input, weight, bias, stride, padding, dilation, activation,
                                  precision);
  }
  return DepthwiseCuda::forward(kOp, input, weight, bias, window, Activation(activation),
                                Precision(precision));
}

Gradients depthwise_conv2d_backward_cuda(const Tensor& grad_output, const Tensor& input,
                                         const Tensor& weight, const std::optional<Tensor>& bias,
                                         IntList stride, IntList padding, IntList dilation,
                                         int64_t activation, int64_t precision,
                                         const BoolList& output_mask) {
  constexpr const char* kOp = "depthwise_conv2d_backward";
  const Window2d window{stride, padding, dilation};
  const auto sizes = check_depthwise(kOp, input, "weight", weight, "bias", bias, window);
  check_activation_and_precision(kOp, activation, precision);
  check_conv2d_backward(kOp, grad_output, input, sizes, output_mask, 3);
  if (!kernels_available(input)) {
    return call_aten_path<Gradients>(kOp, grad_output, input, weight, bias, stride, padding,
                                     dilation, activation, precision, output_mask);
  }
  return depthwise_backward<DepthwiseCuda>(kOp, grad_output, input, weight, bias, window,
                                           Activation(activation), Precision(precision),
                                           output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CUDA, m) {
  m.impl("depthwise_conv2d", TORCH_BOX(&depthwise_conv2d_cuda));
  m.impl("depthwise_conv2d_backward", TORCH_BOX(&depthwise_conv2d_backward_cuda));
}

}  // namespace kernelopt
