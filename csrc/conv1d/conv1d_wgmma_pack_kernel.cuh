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
  const int place = residue * p.correlation.spread + p.correlation.spread_first;
  const int reach =
      place + static_cast<int>(p.problem.padding) - offset * static_cast<int>(p.problem.stride);
  const int tap = reach / dilation;
  const bool found = reach >= 0 && tap * dilation == reach && tap < p.problem.kernel_size;
  return found ? tap : -1;
}

/// Whether a slot's weights of eight channels and all taps are whole vectors side by side.
template <typename T>
bool has_vector_weights(const Conv1dProblem& problem) {
  return !problem.transposed && problem.in_channels % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.weight) % 16 == 0;
}

/// A thread packs all taps of eight channels of a slot.
/// @param units  [group][n block][chunk][k / 8][slot], the threads
/// @tparam kTaps  the kernel size, where there are vector weights; or 0
template <typename T, int kTaps>
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
  const int channels = real_slot ? static_cast<int>(p.problem.in_channels) - first_c : 0;
  const int64_t c_stride = p.problem.weight_in_stride();
  const T* weight = static_cast<const T*>(p.problem.weight) +
                    group * p.problem.weight_group_stride() + o * p.problem.weight_out_stride() +
                    first_c * c_stride;
  uint4* destination = packed + (product * kParts * 2 + half) * block_slots + slot;
  const auto store_tap = [&](int j, const T(&values)[8]) {
    alignas(16) uint32_t high[4], low[4];
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      if constexpr (kParts == 2) {
        const SplitPair pair = split_bf16(values[word * 2], values[word * 2 + 1]);
        high[word] = pair.high;
        low[word] = pair.low;
      } else {
        const T two[2] = {values[word * 2], values[word * 2 + 1]};
        high[word] = *reinterpret_cast<const uint32_t*>(two);
      }
    }
    uint4* place = destination + static_cast<int64_t>(j) * kParts * 2 * block_slots;
    place[0] = *reinterpret_cast<const uint4*>(high);
    if constexpr (kParts == 2) {
      place[2 * block_slots] = *reinterpret_cast<const uint4*>(low);
    }
  };
  if constexpr (kTaps > 0) {
    constexpr int kVector = 16 / static_cast<int>(sizeof(T));
    T run[8 * kTaps];
#pragma unroll
    for (int i = 0; i < 8 * kTaps / kVector; ++i) {
      uint4 vector = make_uint4(0, 0, 0, 0);
      if (channels > 0) {
        vector = reinterpret_cast<const uint4*>(weight)[i];
      }
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        run[i * kVector + k] = reinterpret_cast<const T*>(&vector)[k];
      }
    }
#pragma unroll
    for (int j = 0; j < kTaps; ++j) {
      T values[8];
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        values[c] = run[c * kTaps + j];
      }
      store_tap(j, values);
    }
  } else {
    for (int j = 0; j < p.correlation.taps; ++j) {
      const int tap = weight_tap(p, residue, j);
      T values[8];
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        values[c] =
            tap >= 0 && c < channels ? weight[c * c_stride + tap] : from_accumulate<T>(0.0f);
      }
      store_tap(j, values);
    }
  }
#endif
}

}  // namespace kernelopt
