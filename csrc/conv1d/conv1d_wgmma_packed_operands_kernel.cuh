// Packs both operands of conv1d_wgmma_packed_kernel (conv1d_wgmma_packed_params.h) in one launch,
// so that neither waits for the other. The input's packing is a transposition, for the tensor cores
// want channels side by side, and padding with zeros.
#pragma once

#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_wgmma_pack_many_kernel.cuh"
#include "conv1d/conv1d_wgmma_packed_params.h"

namespace kernelopt {

struct PackOperands {
  static constexpr int kThreads = PackMany::kThreads, kPlaces = 32;  // of a block
  static constexpr int kWords = Conv1dWgmmaPackedShape::kBlockBytes / 4;
  static constexpr int kPitch = kWords + 1;  // odd: neighbouring lanes use different banks
  static constexpr int kTileBytes = kPlaces * kPitch * 4;
};

#if KERNELOPT_HAS_MMA

/// Packs kPlaces places of a channel block. Places are an entry's positions, one entry after the
/// other: neighbours are read together, though with an input step they are rows of other residues.
/// @param tile  PackOperands::kTileBytes
template <typename T>
__device__ __forceinline__ void pack_input_places(const Conv1dWgmmaPackedParams& p, int block_x,
                                                  int channel_block, uint32_t* tile) {
  constexpr int kParts = MmaTraits<T>::kParts;
  constexpr int kWords = PackOperands::kWords, kPairs = kWords / kParts;
  constexpr int kWarps = PackOperands::kThreads / 32, kWarpPairs = kPairs / kWarps;
  constexpr int kPitch = PackOperands::kPitch, kPlaces = PackOperands::kPlaces;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int step = p.correlation.input_step;
  const int entry_places = p.entry_runs * step, places = p.rows * step;
  const int first_place = block_x * kPlaces;
  const int group = channel_block / p.channel_blocks;
  const int first_channel =
      (channel_block - group * p.channel_blocks) * (kPairs * 2) + warp * kWarpPairs * 2;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  const int64_t channel_stride = p.problem.input_strides.channel;
  const int read = first_place + lane, n = read / entry_places;
  const int position = read - n * entry_places + p.correlation.input_first;
  const bool real = read < places && position >= 0 && position < p.problem.in_length;
  const T* input = static_cast<const T*>(p.problem.input) +
                   (real ? n * p.problem.input_strides.batch + position : 0) +
                   (static_cast<int64_t>(group) * in_channels + first_channel) * channel_stride;
  T values[kWarpPairs * 2];
#pragma unroll
  for (int c = 0; c < kWarpPairs * 2; ++c) {
    values[c] = real && first_channel + c < in_channels ? input[c * channel_stride]
                                                        : from_accumulate<T>(0.0f);
  }
#pragma unroll
  for (int pair = 0; pair < kWarpPairs; ++pair) {
    uint32_t* word = tile + lane * kPitch + warp * kWarpPairs + pair;
    if constexpr (kParts == 2) {
      const SplitPair split = split_bf16(values[pair * 2], values[pair * 2 + 1]);
      word[0] = split.high;
      word[kPairs] = split.low;
    } else {
      const T two[2] = {values[pair * 2], values[pair * 2 + 1]};
      word[0] = *reinterpret_cast<const uint32_t*>(two);
    }
  }
  __syncthreads();
  uint32_t* packed = reinterpret_cast<uint32_t*>(p.packed_input) +
                     static_cast<int64_t>(channel_block) * places * kWords + lane;
  // A warp's places are kWarps apart; their rows and residues move on by additions.
  const int place = first_place + warp;
  const int rows_on = kWarps / step, residues_on = kWarps - rows_on * step;
  int row = place / step, residue = place - row * step;
#pragma unroll
  for (int i = 0; i < kPlaces / kWarps; ++i) {
    if (place + i * kWarps < places) {
      packed[(residue * p.rows + row) * kWords] = tile[(i * kWarps + warp) * kPitch + lane];
    }
    row += rows_on;
    residue += residues_on;
    if (residue >= step) {
      residue -= step;
      ++row;
    }
  }
}

#endif

/// The first weight_x * weight_y blocks pack the weights, the others the input.
/// @param units, thread_taps  of pack_weight_units()
/// @param input_x             blocks of a channel block of the input
/// @tparam kMany              weights by pack_many_weights()
template <typename T, bool kMany>
__global__ void __launch_bounds__(PackOperands::kThreads)
    pack_conv1d_wgmma_operands_kernel(const __grid_constant__ Conv1dWgmmaPackedParams p,
                                      uint4* packed, int block_slots, int units, int thread_taps,
                                      int weight_x, int weight_y, int input_x) {
#if KERNELOPT_HAS_MMA
  extern __shared__ uint32_t operands_shared[];
  grid_dependency_launch();
  const int block = static_cast<int>(blockIdx.x), input_block = block - weight_x * weight_y;
  if (input_block >= 0) {
    pack_input_places<T>(p, input_block % input_x, input_block / input_x, operands_shared);
  } else if constexpr (kMany) {
    pack_many_weights<T, kPackedChunks<T>>(p, packed, block_slots, block, operands_shared);
  } else {
    pack_weight_units<T, 0, kPackedChunks<T>>(p, packed, block_slots, units, thread_taps,
                                              block % weight_x, block / weight_x);
  }
#endif
}

}  // namespace kernelopt
