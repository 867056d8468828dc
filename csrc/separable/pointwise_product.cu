#include "separable/pointwise_product.h"

#include "common/device.h"
#include "conv1d/conv1d_cuda.h"
#include "depthwise/conv2d_cuda.h"
#include "separable/channel_gemm.h"
#include "separable/channel_gemm_wgmma.h"
#include "separable/channel_sums.h"
#include "separable/channel_warps_mma.h"
#include "separable/pointwise_product_policy.h"
#include "separable/separable_columns.h"

namespace kernelopt {

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

bool as_pixel_rows(const Tensor& images, int64_t n, int64_t k, Precision precision,
                   bool channels_last) {
  const int64_t plane = images.size(2) * images.size(3);
  return (channels_last || ChannelGemmWgmmaPolicy::converts(images.size(0), plane,
                                                            element_size(images.scalar_type()))) &&
         channel_gemm_wgmma_serves(images.size(0) * plane, n, k, precision, images);
}

bool as_small_images(int64_t batch, int64_t plane, int64_t n, int64_t k, Precision precision,
                     const Tensor& like) {
  return channel_long_sums_serve(batch, plane, n, k, precision, like) ||
         channel_images_serve(batch, plane, n, k, precision, like);
}

namespace {

bool image_strips_serve(int64_t batch, int64_t plane, int64_t n, int64_t k, Precision precision,
                        const Tensor& like) {
  return ImageStripsPolicy::pays(batch, plane, n, k, element_size(like.scalar_type()),
                                 multiprocessor_count(like.get_device_index())) &&
         channel_gemm_wgmma_serves(batch * plane, n, k, precision, like);
}

bool image_columns_serve(int64_t batch, int64_t plane, int64_t n, int64_t k, Precision precision,
                         const Tensor& like) {
  const int multiprocessors = multiprocessor_count(like.get_device_index());
  // 16-bit planes that planes_pay() takes stay there.
  const bool short_sums =
      ImageColumnsPolicy::pays_for_short_sums(batch, plane, n, k, multiprocessors) &&
      (element_size(like.scalar_type()) == 4 || !FewPixelsPolicy::planes_pay(plane, n, k, 2));
  return (short_sums || ImageColumnsPolicy::pays(batch, plane, n, k, multiprocessors)) &&
         channel_gemm_wgmma_serves(batch * plane, n, k, precision, like);
}

/// result = act(bias + images * weight) of contiguous images, written as columns; whether it did.
bool multiply_as_columns(const char* op, const Tensor& images, const Tensor& weight,
                         const std::optional<Tensor>& bias, Activation activation,
                         const Tensor& result) {
  SeparableWgmmaProblem problem{};
  problem.input = images.const_data_ptr();
  problem.pointwise_weight = weight.const_data_ptr();
  problem.pointwise_bias = data_or_null<void>(bias);
  problem.output = result.mutable_data_ptr();
  problem.batch = static_cast<int>(images.size(0));
  problem.channels = static_cast<int>(images.size(1));
  problem.out_channels = static_cast<int>(result.size(1));
  problem.h.input_size = problem.h.output_size = static_cast<int>(images.size(2));
  problem.w.input_size = problem.w.output_size = static_cast<int>(images.size(3));
  problem.activation = activation;
  const cudaStream_t stream = current_stream(images);
  switch (images.scalar_type()) {
    case ScalarType::Half: return launch_image_columns_as<__half>(op, problem, images, stream);
    case ScalarType::BFloat16:
      return launch_image_columns_as<__nv_bfloat16>(op, problem, images, stream);
    case ScalarType::Float: return launch_image_columns_as<float>(op, problem, images, stream);
    default: return false;
  }
}

/// result = act(bias + images * weight) of contiguous images as they are, on tensor cores where
/// they pay; whether it did.
bool multiply_contiguous(const char* op, const Tensor& images, const Tensor& weight,
                         bool transposed, const std::optional<Tensor>& bias, Activation activation,
                         Precision precision, const Tensor& result) {
  const int64_t batch = images.size(0), plane = images.size(2) * images.size(3);
  const int64_t n = result.size(1), k = images.size(1);
  const auto in_clusters = [&] {
    return multiply_in_clusters(op, images, weight, transposed, bias, activation, result);
  };
  if (channel_long_sums_serve(batch, plane, n, k, precision, images) && in_clusters()) {
    return true;
  }
  if (short_sums_serve(batch, plane, n, k, precision, images)) {
    multiply_few_pixels(op, images, weight, transposed, bias, activation, false, result);
    return true;
  }
  return ((channel_images_serve(batch, plane, n, k, precision, images) ||
           image_strips_serve(batch, plane, n, k, precision, images)) &&
          multiply_images(op, images, weight, transposed, bias, activation, result)) ||
         multiply_planes(op, images, weight, transposed, bias, activation, precision, result) ||
         (channel_clusters_serve(batch, plane, n, k, precision, images) && in_clusters());
}

/// result = act(bias + images * weight) on tensor cores where they pay; whether it did.
/// @param transposed     the images are the output's gradient, the result is the input's
/// @param channels_last  the result's format
bool multiply_on_tensor_cores(const char* op, const Tensor& images, const Tensor& weight,
                              bool transposed, const std::optional<Tensor>& bias,
                              Activation activation, Precision precision, bool channels_last,
                              const Tensor& result) {
  const int64_t plane = images.size(2) * images.size(3);
  const int64_t n = result.size(1), k = images.size(1);
  const bool idle_warps =
      !channels_last &&
      FewPixelsPolicy::planes_pay(plane, n, k, element_size(images.scalar_type())) &&
      channel_gemm_wgmma_serves(images.size(0) * plane, n, k, precision, images);
  const bool as_columns = !transposed && !channels_last && plane > 1 &&
                          image_columns_serve(images.size(0), plane, n, k, precision, images);
  if (!idle_warps && !(as_columns && k <= FewPixelsPolicy::kIdleSum) &&
      few_pixels_serve(images.size(0), plane, n, k, channels_last && is_channels_last(images),
                       precision, images)) {
    multiply_few_pixels(op, images, weight, transposed, bias, activation, channels_last, result);
    return true;
  }
  if (channels_last || plane == 1) {
    return multiply_pixel_rows(op, images, weight, transposed, bias, activation, precision, result);
  }
  if (as_columns &&
      multiply_as_columns(op, contiguous_cuda(op, images), weight, bias, activation, result)) {
    return true;
  }
  if (!as_small_images(images.size(0), plane, n, k, precision, images) &&
      as_pixel_rows(images, n, k, precision, channels_last)) {
    const Tensor rows = empty_channels_last(op, result.sizes(), result.scalar_type(), result);
    if (multiply_pixel_rows(op, channels_last_cuda(op, images), weight, transposed, bias,
                            activation, precision, rows)) {
      copy_cuda(op, rows, result);
      return true;
    }
  }
  const Tensor planes = contiguous_cuda(op, images);
  if (multiply_contiguous(op, planes, weight, transposed, bias, activation, precision, result)) {
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

}  // namespace

void multiply_pixels(const char* op, const Tensor& images, const Tensor& weight, bool transposed,
                     const std::optional<Tensor>& bias, Activation activation, Precision precision,
                     bool channels_last, const Tensor& result) {
  if (!channels_last &&
      channel_sums_serve(result.size(2) * result.size(3), result.size(1), result)) {
    sum_channels(op, contiguous_cuda(op, images), weight, transposed, bias, activation, result);
    return;
  }
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

bool multiply_rows_of_one_tap(const char* op, const Conv1dProblem& problem, const Tensor& input,
                              const Tensor& weight, const std::optional<Tensor>& bias,
                              const Tensor& output) {
  const int64_t length = problem.in_length, n = problem.out_channels, k = problem.in_channels;
  if (problem.kernel_size != 1 || problem.stride != 1 || problem.padding != 0 ||
      problem.groups != 1 || length == 1 || problem.out_length != length ||
      !has_contiguous_strides(input) ||
      !RowsOfOneTapPolicy::pays(problem.batch, length, n, k,
                                multiprocessor_count(input.get_device_index()))) {
    return false;
  }
  const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
  const Tensor images =
      torch::stable::view(input, std::vector<int64_t>{problem.batch, k, 1, length});
  const Tensor result =
      torch::stable::view(output, std::vector<int64_t>{problem.batch, n, 1, length});
  const Tensor dense = contiguous_cuda(op, weight);
  const Tensor weights =
      torch::stable::view(dense, std::vector<int64_t>{dense.size(0), dense.size(1), 1, 1});
  const std::optional<Tensor> biases = contiguous_bias(op, bias);
  if (few_pixels_serve(problem.batch, length, n, k, false, problem.precision, images)) {
    multiply_few_pixels(op, images, weights, problem.transposed, biases, problem.activation, false,
                        result);
    return true;
  }
  return multiply_contiguous(op, images, weights, problem.transposed, biases, problem.activation,
                             problem.precision, result);
}

}  // namespace kernelopt
