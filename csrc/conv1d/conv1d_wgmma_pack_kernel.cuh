// Weights of the warpgroup kernel in the order in which it copies them to shared memory:
// [group][n block][channel chunk][tap][part][k / 8][slot][k % 8], zeros where a slot, a channel or
// a tap is none; k counts the channels of one chunk or of several together. A thread packs eight
// channels of a slot, fp32 in a high and a low bf16 part.
#pragma once

#include "common/grid_dependency.cuh"
#include "conv1d/conv1d_wgmma_weights.cuh"

#include <algorithm>

namespace kernelopt {

/// Whether a slot's weights of eight channels and all taps are whole vectors side by side.
template <typename T>
bool has_vector_weights(const Conv1dProblem& problem) {
  return !problem.transposed && problem.in_channels % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.weight) % 16 == 0;
}

/// Taps that a thread packs one after the other: few where there are few threads, for each takes
/// the time of a read from memory. 1x32x512 -> 32, k39 took 23 us with all of them. Not one of two:
/// transposed 16x128x32 -> 64, k16 s8 took 0.017 ms with twice the blocks, 0.013 without.
inline int pack_thread_taps(int units, int taps) {
  constexpr int64_t kThreads = 1 << 17, kLeast = 2;
  return static_cast<int>(
      std::min<int64_t>(taps, std::max(kLeast, divide_up(int64_t{units} * taps, kThreads))));
}

/// Eight channels of a slot, whose weights are packed together.
template <typename T, int kTogether>
struct PackedUnit {
  int group, block, slot, channel;
  uint4* place;  // of the high parts of tap 0

  /// @param index  of the unit: [group][n block][chunk][k / 8][slot]
  __device__ __forceinline__ PackedUnit(const Conv1dWgmmaParams& p, uint4* packed, int block_slots,
                                        int index)
      : slot(index % block_slots) {
    constexpr int kParts = MmaTraits<T>::kParts;
    int rest = index / block_slots;
    const int half = rest % 2;
    rest /= 2;
    const int64_t product =
        static_cast<int64_t>(rest / kTogether) * p.correlation.taps * kTogether * kParts * 2;
    place = packed + (product + rest % kTogether * 2 + half) * block_slots + slot;
    channel = rest % p.channel_chunks * Conv1dWgmmaShape::kChunkChannels + half * 8;
    rest /= p.channel_chunks;
    block = rest % p.n_blocks;
    group = rest / p.n_blocks;
  }
};

#if KERNELOPT_HAS_MMA

/// What a block packs, a thread taps of eight channels of a slot.
/// @param units        their number, the threads
/// @param thread_taps  of a thread; block_y counts the threads of a unit
/// @tparam kTaps      the kernel size, where there are vector weights and a thread has all taps; or
/// 0
/// @tparam kTogether  chunks that lie together
template <typename T, int kTaps, int kTogether>
__device__ __forceinline__ void pack_weight_units(const Conv1dWgmmaParams& p, uint4* packed,
                                                  int block_slots, int units, int thread_taps,
                                                  int block_x, int block_y) {
  constexpr int kTapSlots = MmaTraits<T>::kParts * 2 * kTogether;
  const int index = block_x * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  if (index >= units) {
    return;
  }
  const PackedUnit<T, kTogether> unit(p, packed, block_slots, index);
  const SlotWeights<T> weights(p, unit.group, unit.block, block_slots, unit.slot, unit.channel);
  if constexpr (kTaps > 0) {
    constexpr int kVector = 16 / static_cast<int>(sizeof(T));
    T run[8 * kTaps];
#pragma unroll
    for (int i = 0; i < 8 * kTaps / kVector; ++i) {
      uint4 vector = make_uint4(0, 0, 0, 0);
      if (weights.channels > 0) {
        vector = reinterpret_cast<const uint4*>(weights.first)[i];
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
      uint4* tap_place = unit.place + j * kTapSlots * block_slots;
      store_operands(values, tap_place, tap_place + 2 * kTogether * block_slots);
    }
  } else {
    const int first_tap = block_y * thread_taps;
    pack_taps<T, 1, kTogether>(p, weights, first_tap,
                               min(first_tap + thread_taps, p.correlation.taps), block_slots,
                               unit.place);
  }
}

#endif

/// Packs weights in a launch of their own; blockIdx.y counts the threads of a unit.
template <typename T, int kTaps, int kTogether>
__global__ void pack_conv1d_wgmma_weight_kernel(const __grid_constant__ Conv1dWgmmaParams p,
                                                uint4* packed, int block_slots, int units,
                                                int thread_taps) {
#if KERNELOPT_HAS_MMA
  grid_dependency_launch();
  pack_weight_units<T, kTaps, kTogether>(p, packed, block_slots, units, thread_taps,
                                         static_cast<int>(blockIdx.x),
                                         static_cast<int>(blockIdx.y));
#endif
}

}  // namespace kernelopt
