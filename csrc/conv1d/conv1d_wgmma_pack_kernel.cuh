// Weights of the warpgroup kernel in the order in which it copies them to shared memory:
// [group][n block][channel chunk][tap][part][k / 8][slot][k % 8], zeros where a slot, a channel or
// a tap is none. A thread packs eight channels of a slot, fp32 in a high and a low bf16 part.
#pragma once

#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

/// The weight's tap that tap j of the correlation is for a residue, or -1.
__device__ __forceinline__ int64_t weight_tap(const Conv1dWgmmaParams& p, int residue, int j) {
  if (!p.problem.transposed) {
    return j;
  }
  const int64_t offset = p.correlation.input_first + int64_t{j} * p.correlation.tap_step;
  const int64_t reach = residue + p.problem.padding - offset * p.problem.stride;
  const int64_t tap = reach / p.problem.dilation;
  const bool found = reach >= 0 && tap * p.problem.dilation == reach && tap < p.problem.kernel_size;
  return found ? tap : -1;
}

template <typename T>
__global__ void pack_conv1d_wgmma_weight_kernel(const __grid_constant__ Conv1dWgmmaParams p,
                                                uint4* packed, int block_slots, int64_t vectors) {
#if KERNELOPT_HAS_MMA
  constexpr int kParts = MmaTraits<T>::kParts;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= vectors) {
    return;
  }
  const int slot = static_cast<int>(index % block_slots);
  int64_t rest = index / block_slots;
  const int half = static_cast<int>(rest % 2);
  rest /= 2;
  const int64_t product = rest;  // [group][n block][chunk][tap]
  const int j = static_cast<int>(rest % p.correlation.taps);
  rest /= p.correlation.taps;
  const int chunk = static_cast<int>(rest % p.channel_chunks);
  rest /= p.channel_chunks;
  const int block = static_cast<int>(rest % p.n_blocks);
  const int group = static_cast<int>(rest / p.n_blocks);

  constexpr int kPassColumns = Conv1dWgmmaShape::kPassColumns;
  const int column = slot % kPassColumns;
  const int pass = block * (block_slots / kPassColumns) + slot / kPassColumns;
  const int pass_channel = column / p.correlation.residues;
  const int64_t o = static_cast<int64_t>(pass) * p.pass_channels + pass_channel;
  const int64_t tap = weight_tap(p, column % p.correlation.residues, j);
  const bool real = pass_channel < p.pass_channels && o < p.problem.out_channels && tap >= 0;
  const T* weight = static_cast<const T*>(p.problem.weight) +
                    group * p.problem.weight_group_stride() + o * p.problem.weight_out_stride() +
                    tap;
  alignas(16) uint32_t high[4], low[4];
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    T values[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t c = chunk * Conv1dWgmmaShape::kChunkChannels + half * 8 + word * 2 + i;
      values[i] = real && c < p.problem.in_channels ? weight[c * p.problem.weight_in_stride()]
                                                    : from_accumulate<T>(0.0f);
    }
    if constexpr (kParts == 2) {
      const SplitPair pair = split_bf16(values[0], values[1]);
      high[word] = pair.high;
      low[word] = pair.low;
    } else {
      high[word] = *reinterpret_cast<const uint32_t*>(values);
    }
  }
  uint4* destination = packed + (product * kParts * 2 + half) * block_slots + slot;
  destination[0] = *reinterpret_cast<const uint4*>(high);
  if constexpr (kParts == 2) {
    destination[2 * block_slots] = *reinterpret_cast<const uint4*>(low);
  }
#endif
}

}  // namespace kernelopt
