#include "common/device.h"
#include "conv1d/conv1d_cuda.h"
#include "depthwise/conv2d_cuda.h"
#include "separable/channel_gemm.h"
#include "separable/channel_gemm_policy.h"
#include "separable/channel_gemm_wgmma.h"
#include "separable/channel_warps_mma.h"
#include "separable/pointwise_conv2d.h"
#include "separable/pointwise_weight_gradient.h"

namespace kernelopt {

namespace {

/// The product with contiguous pixels as a one-dimensional convolution over the pixels of an image:
/// of the input, or of the output's gradient where `transposed`. Pointers are left null.
Conv1dProblem problem_of_images(int64_t batch, int64_t plane, const Tensor& weight, bool transposed,
                                Activation activation, Precision precision) {
  Conv1dProblem problem{};
  problem.batch = batch;
  problem.groups = problem.kernel_size = problem.stride = problem.dilation = 1;
  problem.in_channels = weight.size(transposed ? 0 : 1);
  problem.out_channels = weight.size(transposed ? 1 : 0);
  problem.in_length = problem.out_length = plane;
  problem.input_strides = {problem.in_channels * plane, plane, 1};
  problem.output_strides = {problem.out_channels * plane, plane, 1};
  problem.transposed = transposed;
  problem.activation = activation;
  problem.precision = precision;
  return problem;
}

/// Whether images are multiplied as rows of pixels: they are such, or are changed to it.
bool as_pixel_rows(const Tensor& images, int64_t n, int64_t k, Precision precision,
                   bool channels_last) {
  const int64_t plane = images.size(2) * images.size(3);
  return (channels_last || ChannelGemmWgmmaPolicy::converts(images.size(0), plane,
                                                            element_size(images.scalar_type()))) &&
         channel_gemm_wgmma_serves(images.size(0) * plane, n, k, precision, images);
}

/// result = act(bias + images * weight) on tensor cores where they pay; whether it did.
/// @param transposed     the images are the output's gradient, the result is the input's
/// @param channels_last  the result's format
bool multiply_on_tensor_cores(const char* op, const Tensor& images, const Tensor& weight,
                              bool transposed, const std::optional<Tensor>& bias,
                              Activation activation, Precision precision, bool channels_last,
                              const Tensor& result) {
  const int64_t plane = images.size(2) * images.size(3);
  if (few_pixels_serve(images.size(0), plane, result.size(1), images.size(1),
                       channels_last && is_channels_last(images), precision, images)) {
    multiply_few_pixels(op, images, weight, transposed, bias, activation, channels_last, result);
    return true;
  }
  if (channels_last || plane == 1) {
    return multiply_pixel_rows(op, images, weight, transposed, bias, activation, precision, result);
  }
  if (channel_images_serve(images.size(0), plane, result.size(1), images.size(1), precision,
                           images) &&
      multiply_images(op, contiguous_cuda(op, images), weight, transposed, bias, activation,
                      result)) {
    return true;
  }
  if (as_pixel_rows(images, result.size(1), images.size(1), precision, channels_last)) {
    const Tensor rows = empty_channels_last(op, result.sizes(), result.scalar_type(), result);
    if (multiply_pixel_rows(op, channels_last_cuda(op, images), weight, transposed, bias,
                            activation, precision, rows)) {
      copy_cuda(op, rows, result);
      return true;
    }
  }
  const Tensor planes = contiguous_cuda(op, images);
  if (multiply_planes(op, planes, weight, transposed, bias, activation, precision, result)) {
    return true;
  }
  Conv1dProblem problem =
      problem_of_images(images.size(0), plane, weight, transposed, activation, precision);
  if (!conv1d_on_tensor_cores(problem, images)) {
    return false;
  }
  problem.input = planes.const_data_ptr();
  problem.weight = weight.const_data_ptr();
  problem.bias = bias.has_value() ? bias->const_data_ptr() : nullptr;
  problem.output = result.mutable_data_ptr();
  conv1d_forward_cuda(op, problem, planes);
  return true;
}

/// result = act(bias + images * weight).
/// @param transposed     the images are the output's gradient, the result is the input's
/// @param channels_last  the result's format; dense images may be in the other one
void multiply(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
              const std::optional<Tensor>& bias, Activation activation, Precision precision,
              bool channels_last, const Tensor& result) {
  if (multiply_on_tensor_cores(op, images, weight, transposed, bias, activation, precision,
                               channels_last, result)) {
    return;
  }
  const Tensor source = in_format(op, images, channels_last);
  const int64_t plane = result.size(2) * result.size(3), pixels = result.size(0) * plane;
  const int64_t n = result.size(1), k = images.size(1);
  ChannelGemmParams params{};
  params.m = channels_last ? pixels : n;
  params.n = channels_last ? n : pixels;
  params.k = params.share_length = k;
  params.shares = 1;
  params.activation = activation;
  params.bias_along_n = channels_last;
  const ChannelMatrix image_matrix = pixel_matrix(k, plane, channels_last);
  const ChannelMatrix weight_matrix = row_matrix(weight.size(1));
  params.left = channels_last ? image_matrix : weight_matrix;
  params.right = channels_last ? weight_matrix : image_matrix;
  params.result = pixel_matrix(n, plane, channels_last);
  channel_gemm(op, params,
               channels_last ? ChannelGemmOperands{source, true, weight, !transposed}
                             : ChannelGemmOperands{weight, !transposed, source, false},
               bias, result, current_stream(result));
}

}  // namespace

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
  multiply(op, in_format(op, input, channels_last), contiguous_cuda(op, weight), false,
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
      multiply(op, as_images ? grad_z : grad, contiguous_cuda(op, weight), true, std::nullopt,
               Activation::kNone, precision, channels_last, grad_input);
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

Tensor pointwise_conv2d_cuda(const Tensor& input, const Tensor& weight,
                             const std::optional<Tensor>& bias, int64_t activation,
                             int64_t precision) {
  constexpr const char* kOp = "pointwise_conv2d";
  check_pointwise(kOp, input, weight, bias);
  check_activation_and_precision(kOp, activation, precision);
  if (!kernels_available(input)) {
    return call_aten_path<Tensor>(kOp, input, weight, bias, activation, precision);
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
