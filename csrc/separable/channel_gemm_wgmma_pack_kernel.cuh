// Weights of the warpgroup kernel as it copies them to shared memory: [n block][chunk of k][n][128
// bytes], zeros beyond n and k. In 16 bit the 128 bytes are 64 k; in fp32 the bf16 high parts of 32
// k, then their low parts; for SplitFragment each 16 k in its order. A thread packs eight k.
#pragma once

#include "common/grid_dependency.cuh"
#include "common/mma.cuh"
#include "separable/channel_gemm_wgmma_params.h"

namespace kernelopt {

/// @tparam kFragments  the other operand comes in SplitFragments
template <typename T, bool kFragments>
__global__ void pack_channel_gemm_weight_kernel(const __grid_constant__ ChannelGemmWgmmaParams p,
                                                uint4* packed, int block_n, int64_t vectors) {
#if KERNELOPT_HAS_MMA
  grid_dependency_launch();
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kUnits = 8 / kParts;  // of eight k in a chunk
  constexpr bool kReordered = kParts == 2 && kFragments;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= vectors) {
    return;
  }
  // Neighbouring threads read neighbouring elements.
  const bool along_k = p.right_k_stride == 1;
  const int row = static_cast<int>(along_k ? index / kUnits % block_n : index % block_n);
  const int unit = static_cast<int>(along_k ? index % kUnits : index / block_n % kUnits);
  const int64_t rest = index / (kUnits * block_n);  // [n block][chunk]
  const int64_t n = rest / p.chunks * block_n + row;
  const int64_t first = rest % p.chunks * (kUnits * 8) + (kReordered ? unit / 2 * 16 : unit * 8);
  const T* weight = static_cast<const T*>(p.right) + n * p.right_n_stride;
  alignas(16) uint32_t high[4], low[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    T values[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t k = first + (kReordered ? word * 4 + unit % 2 * 2 + i : word * 2 + i);
      values[i] = n < p.n && k < p.k ? weight[k * p.right_k_stride] : from_accumulate<T>(0.0f);
    }
    if constexpr (kParts == 2) {
      const SplitPair pair = split_bf16(values[0], values[1]);
      high[word] = pair.high;
      low[word] = pair.low;
    } else {
      high[word] = *reinterpret_cast<const uint32_t*>(values);
    }
  }
  uint4* destination = packed + (rest * block_n + row) * 8;
  destination[unit ^ (row & 7)] = *reinterpret_cast<const uint4*>(high);
  if constexpr (kParts == 2) {
    destination[(unit + 4) ^ (row & 7)] = *reinterpret_cast<const uint4*>(low);
  }
#endif
}

}  // namespace kernelopt
