#include "separable/pointwise_weight_gradient.h"

#include "conv1d/conv1d_weight_gradient_mma.h"
#include "depthwise/conv2d_cuda.h"
#include "separable/channel_gemm.h"
#include "separable/channel_gemm_policy.h"

namespace kernelopt {
namespace {

/// The weight gradient is that of a one-dimensional convolution over the pixels of an image, or of
/// all images where their channels are side by side.
Conv1dWeightGradientProblem gradient_problem(const Tensor& grad_z, const Tensor& source,
                                             const Tensor& grad_weight, bool channels_last,
                                             Precision precision) {
  const int64_t plane = source.size(2) * source.size(3);
  Conv1dWeightGradientProblem problem{};
  problem.steady = grad_z.const_data_ptr();
  problem.shifted = source.const_data_ptr();
  problem.batch = channels_last ? 1 : source.size(0);
  problem.groups = problem.kernel_size = problem.stride = problem.dilation = 1;
  problem.steady_channels = grad_weight.size(0);
  problem.shifted_channels = grad_weight.size(1);
  problem.steady_length = problem.shifted_length = channels_last ? source.size(0) * plane : plane;
  const auto strides = [&](int64_t channels) {
    return channels_last ? Strides1d{0, 1, channels} : Strides1d{channels * plane, plane, 1};
  };
  problem.steady_strides = strides(problem.steady_channels);
  problem.shifted_strides = strides(problem.shifted_channels);
  problem.precision = precision;
  return problem;
}

}  // namespace

bool pointwise_weight_gradient(const char* op, const Tensor& grad_z, const Tensor& input,
                               const Tensor& grad_weight, bool channels_last, Precision precision,
                               const Tensor* grad_bias) {
  const Tensor grad = in_format(op, grad_z, channels_last);
  const Tensor source = in_format(op, input, channels_last);
  const int64_t plane = source.size(2) * source.size(3);
  // Images of one pixel are in both formats at once.
  const Conv1dWeightGradientProblem problem =
      gradient_problem(grad, source, grad_weight, channels_last || plane == 1, precision);
  if (grad.numel() > 0) {
    const bool sums = grad_bias != nullptr && grad_weight.scalar_type() == ScalarType::Float;
    if (channel_gradient_serves(problem, grad_weight) &&
        channel_gradient(op, problem, grad_weight, sums ? grad_bias : nullptr)) {
      return sums;
    }
    if (launch_conv1d_weight_gradient_mma(op, problem, grad_weight)) {
      return false;
    }
  }
  const int64_t channels = grad_weight.size(1), out_channels = grad_weight.size(0);
  ChannelGemmParams params{};
  params.m = out_channels;
  params.n = channels;
  params.k = source.size(0) * plane;
  params.activation = Activation::kNone;
  params.left = pixel_matrix(out_channels, plane, channels_last);
  params.right = pixel_matrix(channels, plane, channels_last);
  params.result = row_matrix(channels);
  channel_gemm_in_shares(op, params, {grad, !channels_last, source, !channels_last}, grad_weight,
                         current_stream(source));
  return false;
}

}  // namespace kernelopt
