// Packing of many vector weights, as pack_conv1d_wgmma_weight_kernel does: through shared memory,
// so that they are read as they lie side by side. With a read for each weight 512 -> 512, k17 took
// 34 us in bfloat16 instead of 12.
#pragma once

#include "conv1d/conv1d_wgmma_pack_kernel.cuh"

namespace kernelopt {

struct PackMany {
  static constexpr int kThreads = 128, kSlots = 32;    // of a block
  static constexpr int64_t kMaxBytes = 48 * 1024;      // which every launch may ask for
  static constexpr int64_t kMinPackedBytes = 1 << 20;  // fewer are not worth it. Counted

  /// Elements from a slot's weights of eight channels to the next slot's: an odd number of words,
  /// so that those of 32 slots are in different banks.
  template <typename T>
  KERNELOPT_HOST_DEVICE static int64_t pitch(const Conv1dWgmmaParams& p) {
    return p.problem.kernel_size * 8 + 4 / static_cast<int64_t>(sizeof(T));
  }
  template <typename T>
  static int64_t shared_bytes(const Conv1dWgmmaParams& p) {
    return kSlots * pitch<T>(p) * static_cast<int64_t>(sizeof(T));
  }
};

#if KERNELOPT_HAS_MMA

/// A block packs all taps of eight channels of 32 slots, whose weights has_vector_weights().
/// @param shared  PackMany::shared_bytes()
template <typename T, int kTogether>
__device__ __forceinline__ void pack_many_weights(const Conv1dWgmmaParams& p, uint4* packed,
                                                  int block_slots, int block_x, uint32_t* shared) {
  constexpr int kTapSlots = MmaTraits<T>::kParts * 2 * kTogether;
  T* rows = reinterpret_cast<T*>(shared);
  const int taps = static_cast<int>(p.problem.kernel_size);
  const int pitch = static_cast<int>(PackMany::pitch<T>(p));
  const int index = block_x * PackMany::kSlots;
  const PackedUnit<T, kTogether> unit(p, packed, block_slots, index);
  const SlotWeights<T> first(p, unit.group, unit.block, block_slots, unit.slot, unit.channel);
  const int first_output = unit.block * block_slots + unit.slot;
  const int outputs =
      first.channels > 0 ? static_cast<int>(p.problem.out_channels) - first_output : 0;
  const int thread = static_cast<int>(threadIdx.x);
  const int row_vectors = taps * 8 * static_cast<int>(sizeof(T)) / 16;
  const int64_t stride = p.problem.weight_out_stride();
#pragma unroll 4
  for (int i = thread; i < PackMany::kSlots * row_vectors; i += PackMany::kThreads) {
    const int row = i / row_vectors, vector = i - row * row_vectors;
    uint4 words = make_uint4(0, 0, 0, 0);
    if (row < outputs) {
      words = reinterpret_cast<const uint4*>(first.first + row * stride)[vector];
    }
    uint32_t* place = reinterpret_cast<uint32_t*>(rows + row * pitch) + vector * 4;
    place[0] = words.x;
    place[1] = words.y;
    place[2] = words.z;
    place[3] = words.w;
  }
  __syncthreads();
  const int slot = thread % PackMany::kSlots;
  for (int tap = thread / PackMany::kSlots; tap < taps;
       tap += PackMany::kThreads / PackMany::kSlots) {
    T values[8];
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      values[c] = rows[slot * pitch + c * taps + tap];
    }
    uint4* place = unit.place + static_cast<int64_t>(tap) * kTapSlots * block_slots + slot;
    store_operands(values, place, place + 2 * kTogether * block_slots);
  }
}

#endif

template <typename T, int kTogether>
__global__ void __launch_bounds__(PackMany::kThreads)
    pack_many_conv1d_wgmma_weights_kernel(const __grid_constant__ Conv1dWgmmaParams p,
                                          uint4* packed, int block_slots) {
#if KERNELOPT_HAS_MMA
  extern __shared__ uint32_t pack_shared[];
  grid_dependency_launch();
  pack_many_weights<T, kTogether>(p, packed, block_slots, static_cast<int>(blockIdx.x),
                                  pack_shared);
#endif
}

}  // namespace kernelopt
