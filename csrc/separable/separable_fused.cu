#include "separable/separable_fused.h"

#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_launch.h"
#include "separable/channel_gemm.h"
#include "separable/channel_gemm_launch.cuh"
#include "separable/depthwise_operand.cuh"

namespace kernelopt {
namespace {

/// Everything of a fused launch but its types.
struct FusedLaunch {
  const char* op;
  ChannelGemmParams gemm;
  DepthwiseParams depthwise;
  Activation depthwise_activation;
  Tensor input;
  Tensor depthwise_weight;
  std::optional<Tensor> depthwise_bias;
  Tensor pointwise_weight;
  std::optional<Tensor> pointwise_bias;
  Tensor output;
  cudaStream_t stream;

  template <typename T, typename Tile, typename Size, bool kChannelsLast>
  void run() const {
    const DepthwiseOperand<T, kChannelsLast, Size::kHeight, Size::kWidth> hidden{
        const_data<T>(input), const_data<T>(depthwise_weight), data_or_null<T>(depthwise_bias),
        depthwise, depthwise_activation};
    const MatrixOperand<T, true> weight{const_data<T>(pointwise_weight),
                                        row_matrix(pointwise_weight.size(1))};
    const T* bias = data_or_null<T>(pointwise_bias);
    if constexpr (kChannelsLast) {
      launch_channel_gemm<Tile>(op, gemm, hidden, weight, bias, mutable_data<T>(output), stream);
    } else {
      launch_channel_gemm<Tile>(op, gemm, weight, hidden, bias, mutable_data<T>(output), stream);
    }
  }
};

}  // namespace

bool separable_fused_cuda(const char* op, const SeparableArguments& arguments,
                          const Tensor& output) {
  const Tensor& input = arguments.input;
  const Tensor& weight = arguments.depthwise_weight;
  const bool channels_last = is_channels_last(input);
  const int64_t out_channels = output.size(1), plane = output.size(2) * output.size(3);
  const std::vector<int64_t> hidden_sizes{output.size(0), weight.size(0), output.size(2),
                                          output.size(3)};
  const DepthwiseParams depthwise =
      depthwise_forward_params(input, weight, hidden_sizes, arguments.window);
  if (!fits_32bit(depthwise, plane, 1)) {
    return false;
  }
  ChannelGemmParams gemm{};
  gemm.m = channels_last ? output.size(0) * plane : out_channels;
  gemm.n = channels_last ? out_channels : output.size(0) * plane;
  gemm.k = gemm.share_length = weight.size(0);
  gemm.shares = 1;
  gemm.activation = arguments.activation;
  gemm.bias_along_n = channels_last;
  gemm.result = pixel_matrix(out_channels, plane, channels_last);
  bool fused = false;
  dispatch_floating_cuda(op, input.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    dispatch_separable_tile<T>(out_channels, [&](auto tile) {
      using Tile = decltype(tile);
      const int64_t channel_tile = channels_last ? Tile::kTileN : Tile::kTileM;
      const int64_t channel_tiles = divide_up(out_channels, channel_tile);
      fused = SeparablePolicy::fuses(channel_tiles, weight.size(2) * weight.size(3));
      if (!fused) {
        return;
      }
      const torch::stable::accelerator::DeviceGuard guard(input.get_device_index());
      const FusedLaunch launch{op,
                               gemm,
                               depthwise,
                               arguments.depthwise_activation,
                               in_format(op, input, channels_last),
                               depthwise_kernel_weight(op, weight, channels_last),
                               contiguous_bias(op, arguments.depthwise_bias),
                               contiguous_cuda(op, arguments.pointwise_weight),
                               contiguous_bias(op, arguments.pointwise_bias),
                               output,
                               current_stream(input)};
      dispatch_kernel_size<T>(weight.size(2), weight.size(3), [&](auto size) {
        if (channels_last) {
          launch.template run<T, Tile, decltype(size), true>();
        } else {
          launch.template run<T, Tile, decltype(size), false>();
        }
      });
    });
  });
  return fused;
}

}  // namespace kernelopt
