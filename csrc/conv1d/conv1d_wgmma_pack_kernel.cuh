// Weights of the warpgroup kernel in the order in which it copies them to shared memory:
// [group][n block][channel chunk][tap][part][k / 8][slot][k % 8], zeros where a slot, a channel or
// a tap is none. A thread packs eight channels of a slot, fp32 in a high and a low bf16 part.
#pragma once

#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_wgmma_params.h"

namespace kernelopt {

/// The weight's tap that tap j of the correlation is for a residue, or -1.
__device__ __forceinline__ int weight_tap(const Conv1dWgmmaParams& p, int residue, int j) {
  if (!p.problem.transposed) {
    return j;
  }
  const int dilation = static_cast<int>(p.problem.dilation);
  const int offset = p.correlation.input_first + j * p.correlation.tap_step;
  const int reach =
      residue + static_cast<int>(p.problem.padding) - offset * static_cast<int>(p.problem.stride);
  const int tap = reach / dilation;
  const bool found = reach >= 0 && tap * dilation == reach && tap < p.problem.kernel_size;
  return found ? tap : -1;
}

/// A thread packs all taps, for they share sectors of the weight.
/// @param units  [group][n block][chunk][k / 8][slot], the threads
template <typename T>
__global__ void pack_conv1d_wgmma_weight_kernel(const __grid_constant__ Conv1dWgmmaParams p,
                                                uint4* packed, int block_slots, int units) {
#if KERNELOPT_HAS_MMA
  constexpr int kParts = MmaTraits<T>::kParts;
  grid_dependency_launch();
  const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (index >= units) {
    return;
  }
  const int slot = index % block_slots;
  int rest = index / block_slots;
  const int half = rest % 2;
  rest /= 2;
  const int64_t product = static_cast<int64_t>(rest) * p.correlation.taps;
  const int chunk = rest % p.channel_chunks;
  rest /= p.channel_chunks;
  const int block = rest % p.n_blocks;
  const int group = rest / p.n_blocks;

  constexpr int kPassColumns = Conv1dWgmmaShape::kPassColumns;
  const int column = slot % kPassColumns;
  const int pass = block * (block_slots / kPassColumns) + slot / kPassColumns;
  const int pass_channel = column / p.correlation.residues;
  const int residue = column - pass_channel * p.correlation.residues;
  const int64_t o = static_cast<int64_t>(pass) * p.pass_channels + pass_channel;
  const bool real_slot = pass_channel < p.pass_channels && o < p.problem.out_channels;
  const int first_c = chunk * Conv1dWgmmaShape::kChunkChannels + half * 8;
  const int channels = static_cast<int>(p.problem.in_channels) - first_c;
  const int64_t c_stride = p.problem.weight_in_stride();
  const T* weight = static_cast<const T*>(p.problem.weight) +
                    group * p.problem.weight_group_stride() + o * p.problem.weight_out_stride() +
                    first_c * c_stride;
  uint4* destination = packed + (product * kParts * 2 + half) * block_slots + slot;
  for (int j = 0; j < p.correlation.taps; ++j) {
    const int tap = weight_tap(p, residue, j);
    const bool real = real_slot && tap >= 0;
    alignas(16) uint32_t high[4], low[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      T values[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int c = word * 2 + i;
        values[i] = real && c < channels ? weight[c * c_stride + tap] : from_accumulate<T>(0.0f);
      }
      if constexpr (kParts == 2) {
        const SplitPair pair = split_bf16(values[0], values[1]);
        high[word] = pair.high;
        low[word] = pair.low;
      } else {
        high[word] = *reinterpret_cast<const uint32_t*>(values);
      }
    }
    destination[0] = *reinterpret_cast<const uint4*>(high);
    if constexpr (kParts == 2) {
      destination[2 * block_slots] = *reinterpret_cast<const uint4*>(low);
    }
    destination += kParts * 2 * block_slots;
  }
#endif
}

}  // namespace kernelopt
