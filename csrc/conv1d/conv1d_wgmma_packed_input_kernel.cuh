// Packs the input of conv1d_wgmma_packed_kernel (conv1d_wgmma_packed_params.h): a transposition,
// for the tensor cores want channels side by side, and padding with zeros.
#pragma once

#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_wgmma_packed_params.h"

namespace kernelopt {

/// A block packs kPackRows rows of a channel block and residue.
template <typename T>
__global__ void __launch_bounds__(Conv1dWgmmaPackedShape::kPackThreads)
    pack_conv1d_wgmma_input_kernel(const __grid_constant__ Conv1dWgmmaPackedParams p) {
#if KERNELOPT_HAS_MMA
  using Shape = Conv1dWgmmaPackedShape;
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kWords = Shape::kBlockBytes / 4, kPairs = kWords / kParts;
  constexpr int kWarps = Shape::kPackThreads / 32, kWarpPairs = kPairs / kWarps;
  constexpr int kLaneRows = Shape::kPackRows / 32;
  // An odd pitch: neighbouring lanes write and read different banks.
  __shared__ uint32_t tile[Shape::kPackRows][kWords + 1];
  grid_dependency_launch();

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int plane = static_cast<int>(blockIdx.y);
  const int residue = plane % p.correlation.input_step;
  const int block = plane / p.correlation.input_step;
  const int group = block / p.channel_blocks;
  const int first_channel =
      (block - group * p.channel_blocks) * (kPairs * 2) + warp * kWarpPairs * 2;
  const int first_row = static_cast<int>(blockIdx.x) * Shape::kPackRows;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  const int64_t channel_stride = p.problem.input_strides.channel;
  T values[kLaneRows][kWarpPairs * 2];
#pragma unroll
  for (int i = 0; i < kLaneRows; ++i) {
    const int row = first_row + i * 32 + lane, n = row / p.entry_runs;
    const int position =
        (row - n * p.entry_runs) * p.correlation.input_step + residue + p.correlation.input_first;
    const bool real = row < p.rows && position >= 0 && position < p.problem.in_length;
    const T* input = static_cast<const T*>(p.problem.input) +
                     (real ? n * p.problem.input_strides.batch + position : 0) +
                     (static_cast<int64_t>(group) * in_channels + first_channel) * channel_stride;
#pragma unroll
    for (int c = 0; c < kWarpPairs * 2; ++c) {
      values[i][c] = real && first_channel + c < in_channels ? input[c * channel_stride]
                                                             : from_accumulate<T>(0.0f);
    }
  }
#pragma unroll
  for (int i = 0; i < kLaneRows; ++i) {
#pragma unroll
    for (int pair = 0; pair < kWarpPairs; ++pair) {
      uint32_t* word = &tile[i * 32 + lane][warp * kWarpPairs + pair];
      if constexpr (kParts == 2) {
        const SplitPair split = split_bf16(values[i][pair * 2], values[i][pair * 2 + 1]);
        word[0] = split.high;
        word[kPairs] = split.low;
      } else {
        const T two[2] = {values[i][pair * 2], values[i][pair * 2 + 1]};
        word[0] = *reinterpret_cast<const uint32_t*>(two);
      }
    }
  }
  __syncthreads();
  uint32_t* packed = reinterpret_cast<uint32_t*>(p.packed_input) +
                     (static_cast<int64_t>(plane) * p.rows + first_row) * kWords + lane;
#pragma unroll
  for (int i = 0; i < Shape::kPackRows / kWarps; ++i) {
    const int row = i * kWarps + warp;
    if (first_row + row < p.rows) {
      packed[row * kWords] = tile[row][lane];
    }
  }
  // The kernel behind waits for this one only, and reads the packed weights of the one in front.
  grid_dependency_wait();
#endif
}

}  // namespace kernelopt
