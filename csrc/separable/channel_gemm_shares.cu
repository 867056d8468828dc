#include "common/share_sum.cuh"
#include "separable/channel_gemm.h"
#include "separable/channel_gemm_launch.cuh"

#include <algorithm>

namespace kernelopt {
namespace {

/// Enough shares to fill the device, none with too little to do.
void choose_shares(ChannelGemmParams& params, int multiprocessors) {
  using Tile = SmallChannelTile;
  const int64_t tiles = divide_up(params.m, Tile::kTileM) * divide_up(params.n, Tile::kTileN);
  const int64_t wanted = int64_t{multiprocessors} * ChannelGemmPolicy::kBlocksPerMultiprocessor;
  const int64_t useful = std::max<int64_t>(1, params.k / ChannelGemmPolicy::kMinShareLength);
  const int64_t shares = std::clamp<int64_t>(divide_up(wanted, tiles), 1, useful);
  params.share_length =
      std::max<int64_t>(1, divide_up(divide_up(params.k, shares), Tile::kTileK)) * Tile::kTileK;
  params.shares = std::max<int64_t>(1, divide_up(params.k, params.share_length));
}

}  // namespace

void channel_gemm_in_shares(const char* op, ChannelGemmParams params,
                            const ChannelGemmOperands& operands, const Tensor& result,
                            cudaStream_t stream) {
  using Tile = SmallChannelTile;
  choose_shares(params, multiprocessor_count(result.get_device_index()));
  dispatch_floating_cuda(op, result.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = AccumulateType<T>;
    const Tensor partial = empty_shares<T>(op, params.shares, result.numel(), result);
    const auto launch = [&](auto along_k) {
      using Operand = MatrixOperand<T, decltype(along_k)::value>;
      launch_channel_gemm<Tile, T>(op, params, Operand{const_data<T>(operands.left), params.left},
                                   Operand{const_data<T>(operands.right), params.right},
                                   static_cast<const T*>(nullptr), mutable_data<A>(partial),
                                   stream);
    };
    if (operands.left_along_k) {
      launch(std::true_type{});
    } else {
      launch(std::false_type{});
    }
    launch_share_sum<T>(op, partial, result, stream);
  });
}

}  // namespace kernelopt
