#include "common/device.h"
#include "conv1d/conv1d_cuda.h"
#include "depthwise/conv2d_cuda.h"
#include "separable/channel_gemm_policy.h"
#include "separable/channel_gemm_wgmma.h"
#include "separable/channel_warps_mma.h"
#include "separable/pointwise_conv2d.h"
#include "separable/pointwise_conv2d_aten_policy.h"
#include "separable/pointwise_product.h"
#include "separable/pointwise_weight_gradient.h"

namespace kernelopt {

bool PointwiseCuda::on_tensor_cores(const Tensor& output, const Tensor& weight, Precision precision,
                                    bool channels_last) {
  return as_pixel_rows(output, weight.size(0), weight.size(1), precision, channels_last) ||
         (!channels_last &&
          conv1d_on_tensor_cores(problem_of_images(output.size(0), output.size(2) * output.size(3),
                                                   weight, false, Activation::kNone, precision),
                                 output));
}

bool PointwiseCuda::has_few_pixels(const Tensor& output, const Tensor& weight, Precision precision,
                                   bool channels_last) {
  return few_pixels_serve(output.size(0), output.size(2) * output.size(3), weight.size(0),
                          weight.size(1), channels_last, precision, output);
}

Tensor PointwiseCuda::forward(const char* op, const Tensor& input, const Tensor& weight,
                              const std::optional<Tensor>& bias, Activation activation,
                              Precision precision) {
  const Tensor output = empty_in_format_of(
      op, input, std::vector<int64_t>{input.size(0), weight.size(0), input.size(2), input.size(3)});
  forward_into(op, input, weight, bias, activation, precision, is_channels_last(input), output);
  return output;
}

void PointwiseCuda::forward_into(const char* op, const Tensor& input, const Tensor& weight,
                                 const std::optional<Tensor>& bias, Activation activation,
                                 Precision precision, bool channels_last, const Tensor& output) {
  if (output.numel() == 0) {
    return;
  }
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  multiply_pixels(op, in_format(op, input, channels_last), contiguous_cuda(op, weight), false,
                  contiguous_bias(op, bias), activation, precision, channels_last, output);
}

Gradients PointwiseCuda::gradients(const char* op, const Tensor& grad_z, const Tensor& input,
                                   const Tensor& weight, Precision precision,
                                   const BoolList& output_mask) {
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const bool channels_last = is_channels_last(input);
  const int64_t plane = input.size(2) * input.size(3);
  const bool as_images =
      !channels_last &&
      channel_images_serve(input.size(0), plane, weight.size(1), weight.size(0), precision, input);
  const bool rows = plane > 1 &&
                    !(as_images && ChannelImagesPolicy::gradient_pays(
                                       plane, element_size(input.scalar_type()))) &&
                    as_pixel_rows(input, weight.size(1), weight.size(0), precision, channels_last);
  // Where rows are multiplied both gradients take the same copy of it.
  const Tensor grad = in_format(op, grad_z, rows || channels_last);
  Tensor grad_input = no_gradient(op, input);
  if (output_mask[0]) {
    grad_input = empty_in_format_of(op, input, input.sizes());
    if (grad_input.numel() > 0) {
      const bool as_they_are =
          !channels_last &&
          as_small_images(input.size(0), plane, weight.size(1), weight.size(0), precision, input);
      multiply_pixels(op, as_they_are ? grad_z : grad, contiguous_cuda(op, weight), true,
                      std::nullopt, Activation::kNone, precision, channels_last, grad_input);
    }
  }
  Tensor grad_weight = no_gradient(op, input);
  if (output_mask[1]) {
    grad_weight = empty_contiguous(op, weight.sizes(), input.scalar_type(), input);
    std::optional<Tensor> grad_bias;
    if (output_mask[2]) {
      const std::vector<int64_t> sizes{weight.size(0)};
      grad_bias = empty_contiguous(op, sizes, input.scalar_type(), input);
    }
    if (pointwise_weight_gradient(op, grad, input, grad_weight, rows || channels_last, precision,
                                  grad_bias.has_value() ? &*grad_bias : nullptr)) {
      return {grad_input, grad_weight, *grad_bias};
    }
  }
  return {grad_input, grad_weight, bias_gradient(op, grad, output_mask[2])};
}

namespace {

/// Whether ATen is to compute the forward.
bool goes_to_aten(const Tensor& input, const Tensor& weight, Precision precision) {
  return precision != Precision::kIeee && input.scalar_type() != ScalarType::Double &&
         aten_is_faster(input.size(0), input.size(2) * input.size(3), weight.size(1),
                        weight.size(0), static_cast<int>(element_size(input.scalar_type())),
                        is_channels_last(input), compute_capability(input.get_device_index())) &&
         !PointwiseCuda::has_few_pixels(input, weight, precision, false);  // output's are as many
}

Tensor pointwise_conv2d_cuda(const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, int64_t activation,
                             int64_t precision) {
  constexpr const char* kOp = "pointwise_conv2d";
  check_pointwise(kOp, input, weight, bias);
  check_activation_and_precision(kOp, activation, precision);
  if (!kernels_available(input)) {
    return call_aten_path<Tensor>(kOp, input, weight, bias, activation, precision);
  }
  if (goes_to_aten(input, weight, Precision(precision))) {
    return pointwise_forward_aten(kOp, input, weight, bias, Activation(activation),
                                  kActivationCuda);
  }
  return PointwiseCuda::forward(kOp, input, weight, bias, Activation(activation),
                                Precision(precision));
}

Gradients pointwise_conv2d_backward_cuda(const Tensor& grad_output, const Tensor& input,
                                         const Tensor& weight, const std::optional<Tensor>& bias,
                                         int64_t activation, int64_t precision,
                                         const BoolList& output_mask) {
  constexpr const char* kOp = "pointwise_conv2d_backward";
  const auto sizes = check_pointwise(kOp, input, weight, bias);
  check_activation_and_precision(kOp, activation, precision);
  check_conv2d_backward(kOp, grad_output, input, sizes, output_mask, 3);
  if (!kernels_available(input)) {
    return call_aten_path<Gradients>(kOp, grad_output, input, weight, bias, activation, precision,
                                     output_mask);
  }
  return pointwise_backward<PointwiseCuda>(kOp, grad_output, input, weight, bias,
                                           Activation(activation), Precision(precision),
                                           output_mask);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(kernelopt, CUDA, m) {
  m.impl("pointwise_conv2d", TORCH_BOX(&pointwise_conv2d_cuda));
  m.impl("pointwise_conv2d_backward", TORCH_BOX(&pointwise_conv2d_backward_cuda));
}

}  // namespace kernelopt
