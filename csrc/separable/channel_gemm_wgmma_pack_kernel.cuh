// Weights of the warpgroup kernel as it copies them to shared memory: [n block][chunk of k][n][128
// bytes], zeros beyond n and k. In 16 bit the 128 bytes are 64 k; in fp32 the bf16 high parts of 32
// k, then their low parts; the order of k and of the columns is that of the kernel that reads
// them. A thread packs eight k.
#pragma once

#include "common/grid_dependency.cuh"
#include "common/mma.cuh"
#include "separable/channel_gemm_wgmma_params.h"

namespace kernelopt {

/// The channel of a chunk that thread `quad` of the four of a fragment's row holds as its r-th.
/// @param spread  a power of two: so many neighbours, then the other threads'
__device__ __forceinline__ int spread_channel(int quad, int r, int spread) {
  return quad * spread + (r & (spread - 1)) + (r & -spread) * 4;
}

enum class PackOrder {
  kPlain,
  kFragments,  // fp32: each 16 k as SplitFragment has them
  kImages,     // k by spread_channel(); each 32 columns so that the accumulators of a thread
               // are eight neighbours
};

template <typename T, PackOrder kOrder>
__global__ void pack_channel_gemm_weight_kernel(const __grid_constant__ ChannelGemmWgmmaParams p,
                                                uint4* packed, int block_n, int64_t vectors) {
#if KERNELOPT_HAS_MMA
  grid_dependency_launch();
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kUnits = 8 / kParts;  // of eight k in a chunk
  constexpr bool kImages = kOrder == PackOrder::kImages;
  constexpr bool kReordered = kParts == 2 && kOrder == PackOrder::kFragments;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= vectors) {
    return;
  }
  if (p.taken != nullptr && index < divide_up(p.n, block_n)) {
    p.taken[index] = 0;
  }
  // Neighbouring threads read neighbouring elements.
  const bool along_k = p.right_k_stride == 1;
  const int row = static_cast<int>(along_k ? index / kUnits % block_n : index % block_n);
  const int unit = static_cast<int>(along_k ? index % kUnits : index / block_n % kUnits);
  const int64_t rest = index / (kUnits * block_n);  // [n block][chunk]
  const int column = kImages ? row / 32 * 32 + row % 8 / 2 * 8 + row / 8 % 4 * 2 + row % 2 : row;
  const int64_t n = rest / p.chunks * block_n + column;
  const int64_t chunk = rest % p.chunks * (kUnits * 8);
  const T* weight = static_cast<const T*>(p.right) + n * p.right_n_stride;
  alignas(16) uint32_t high[4], low[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    T values[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t k = chunk + (kImages      ? spread_channel(word, unit * 2 + i, p.spread)
                                 : kReordered ? unit / 2 * 16 + word * 4 + unit % 2 * 2 + i
                                              : unit * 8 + word * 2 + i);
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
