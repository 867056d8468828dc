#include "common/dtype.cuh"
#include "common/share_sum.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_shapes.h"
#include "depthwise/depthwise_weight_gradient_kernel.cuh"
#include "depthwise/depthwise_weight_gradient_window.h"
#include "depthwise/depthwise_window_policy.h"

#include <algorithm>

namespace kernelopt {
namespace {

/// Cuts the sum in shares: enough blocks to fill the device, none with too little to do.
void choose_shares(DepthwiseWeightGradientParams& params, int64_t blocks_per_share,
                   int64_t elements_per_block, int device_index) {
  using Policy = DepthwiseWeightGradientPolicy;
  const int64_t elements = params.batch * params.h.result_size * params.w.result_size;
  const int64_t wanted =
      int64_t{multiprocessor_count(device_index)} * Policy::kBlocksPerMultiprocessor;
  const int64_t shares = std::clamp<int64_t>(divide_up(wanted, blocks_per_share), 1,
                                             std::max<int64_t>(1, elements / elements_per_block));
  params.share_length = std::max<int64_t>(1, divide_up(elements, shares));
  params.shares = std::max<int64_t>(1, divide_up(elements, params.share_length));
}

template <typename T, typename Tile, typename Index>
void launch(const char* op, const DepthwiseWeightGradientParams& params, const Tensor& grad_z,
            const Tensor& input, const Tensor& partial, bool channels_last, int64_t blocks,
            cudaStream_t stream) {
  constexpr int kThreads = DepthwiseWeightGradientPolicy::kThreads;
  const auto kernel =
      channels_last
          ? depthwise_weight_gradient_channels_last_kernel<T, Tile::kRows, Tile::kColumns, Index>
          : depthwise_weight_gradient_kernel<T, Tile::kRows, Tile::kColumns, Index>;
  kernel<<<grid_size(op, blocks, 1), kThreads, 0, stream>>>(
      params, const_data<T>(grad_z), const_data<T>(input),
      mutable_data<AccumulateType<T>>(partial));
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace

void launch_depthwise_weight_gradient(const char* op, DepthwiseWeightGradientParams params,
                                      const Tensor& grad_z, const Tensor& input,
                                      const Tensor& grad_weight, bool channels_last,
                                      Precision precision, cudaStream_t stream) {
  using Policy = DepthwiseWeightGradientPolicy;
  const int element_bytes = static_cast<int>(element_size(input.scalar_type()));
  const auto launch_window = [&] {
    return launch_depthwise_weight_gradient_window(op, params, grad_z, input, grad_weight, stream);
  };
  if (!channels_last &&
      (launch_depthwise_weight_gradient_small(op, params, grad_z, input, grad_weight, stream) ||
       (window_gradient_is_first(params, element_bytes) && launch_window()) ||
       launch_depthwise_banded_gradient(op, params, grad_z, input, grad_weight, precision,
                                        stream) ||
       (window_gradient_pays(params, element_bytes) && launch_window()) ||
       launch_depthwise_weight_gradient_sliding(op, params, grad_z, input, grad_weight, stream))) {
    return;
  }
  dispatch_floating_cuda(op, input.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    dispatch_tap_tile<T>(params.h.kernel_size, params.w.kernel_size, [&](auto tile) {
      using Tile = decltype(tile);
      params.tiles_h = divide_up(params.h.kernel_size, Tile::kRows);
      params.tiles_w = divide_up(params.w.kernel_size, Tile::kColumns);
      const int64_t groups =
          channels_last ? divide_up(params.filters, Policy::kChannels) : params.filters;
      const int64_t blocks_per_share = groups * params.tiles_h * params.tiles_w;
      const int64_t elements_per_block =
          channels_last ? Policy::kMinElements / Policy::kChannels : Policy::kMinElements;
      choose_shares(params, blocks_per_share, elements_per_block, input.get_device_index());
      const Tensor partial = empty_shares<T>(op, params.shares, grad_weight.numel(), input);
      const int64_t blocks = blocks_per_share * params.shares;
      const bool small = axis_fits_32bit(params.h, Tile::kRows) &&
                         axis_fits_32bit(params.w, Tile::kColumns) &&
                         params.h.source_size * params.w.source_size <= kMaxIndex32 &&
                         params.batch * params.h.result_size * params.w.result_size <= kMaxIndex32;
      if (small) {
        launch<T, Tile, int32_t>(op, params, grad_z, input, partial, channels_last, blocks, stream);
      } else {
        launch<T, Tile, int64_t>(op, params, grad_z, input, partial, channels_last, blocks, stream);
      }
      launch_share_sum<T>(op, partial, grad_weight, stream);
    });
  });
}

}  // namespace kernelopt
