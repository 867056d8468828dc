// From a matrix product over channels to a launch of its kernel.
#pragma once

#include "common/device.h"
#include "common/dtype.cuh"
#include "common/tensor.h"
#include "separable/channel_gemm_kernel.cuh"
#include "separable/channel_gemm_policy.h"

#include <limits>

namespace kernelopt {

template <typename Tile, typename T, typename Result, typename Left, typename Right>
void launch_channel_gemm(const char* op, const ChannelGemmParams& params, const Left& left,
                         const Right& right, const T* bias, Result* result, cudaStream_t stream) {
  const int64_t blocks = (params.m + Tile::kTileM - 1) / Tile::kTileM *
                         ((params.n + Tile::kTileN - 1) / Tile::kTileN) * params.shares;
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 blocks, got ", blocks);
  channel_gemm_kernel<T, Result, Tile, Left, Right>
      <<<static_cast<unsigned>(blocks), Tile::kThreads, 0, stream>>>(params, left, right, bias,
                                                                     result);
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
