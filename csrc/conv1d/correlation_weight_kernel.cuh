// Weights of a tensor-core correlation in the order in which its warps read them. A thread packs
// the 16 bytes that one lane reads of one fragment: [group][m block][channel chunk][tap][m
// tile][part] [lane], fp32 in a high and a low part, zeros beyond the last channel.
#pragma once

#include "conv1d/correlation_params.h"

namespace kernelopt {

template <typename T>
__global__ void pack_correlation_weight_kernel(CorrelationParams<T> p, uint4* packed, int m_tiles,
                                               int64_t fragments) {
#if KERNELOPT_HAS_MMA
  constexpr int kParts = MmaTraits<T>::kParts;
  const int64_t fragment = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (fragment >= fragments) {
    return;
  }
  const int lane = static_cast<int>(fragment % 32);
  int64_t rest = fragment / 32;
  const int tile = static_cast<int>(rest % m_tiles);
  rest /= m_tiles;
  const int64_t slot = fragment / 32 * kParts * 32 + lane;
  const int tap = static_cast<int>(rest % p.taps);
  rest /= p.taps;
  const int chunk = static_cast<int>(rest % p.channel_chunks);
  rest /= p.channel_chunks;
  const int m_block = static_cast<int>(rest % p.m_blocks);
  const int group = static_cast<int>(rest / p.m_blocks);
  T values[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = (m_block * m_tiles + tile) * 16 + lane / 4 + i / 2 % 2 * 8;
    const int column = chunk * kChunkChannels + lane % 4 * 2 + i / 4 * 8 + i % 2;
    const bool inside = row < p.out_channels && column < p.in_channels;
    values[i] = inside ? p.weight[group * p.weight_group_stride + row * p.weight_out_stride +
                                  column * p.weight_in_stride + tap * p.weight_tap_stride]
                       : from_accumulate<T>(0.0f);
  }
  store_operands(values, packed + slot, packed + slot + 32);
#endif
}

}  // namespace kernelopt
