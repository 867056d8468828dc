// What the multiplying and the storing warps of the warpgroup kernels share: slabs in shared
// memory, and the biases of a block.
#pragma once

#include "common/activation16.cuh"
#include "common/bulk_copy.cuh"
#include "common/pairs16.cuh"
#include "common/wgmma.cuh"
#include "conv1d/conv1d_wgmma_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Whether the sums of two residues are written together.
__device__ __forceinline__ bool writes_pairs(const Conv1dWgmmaParams& p) {
  return p.correlation.residues % 2 == 0 && p.skew_outputs == 0;
}

/// A warpgroup's slabs, which its multiplying warps fill and its storing warps empty, and their
/// barriers.
/// @tparam kSlabs, kBytes  their number and size where known at compile time, else 0
template <typename Value, int kSlabs = 0, int kBytes = 0>
struct SlabRing {
  unsigned char* slabs;
  uint32_t full, empty;
  uint32_t* flags = nullptr;  // of the slabs, for the kernel with both operands in shared memory
  RingCursor ring;
  uint32_t pass = 1;  // counted from 1 over all tiles

  __device__ __forceinline__ Value* values(const Conv1dWgmmaParams& p) const {
    return reinterpret_cast<Value*>(slabs + ring.index * (kBytes > 0 ? kBytes : p.slab_bytes));
  }
  __device__ __forceinline__ uint32_t& flag() const { return flags[ring.index]; }
  __device__ __forceinline__ void wait_full() const {
    mbarrier_wait(full + ring.index * 8, ring.parity);
  }
  __device__ __forceinline__ void wait_empty() const {
    mbarrier_wait(empty + ring.index * 8, ring.parity ^ 1);
  }
  /// The slab goes to the storing warps, when all warps of the warpgroup have called this.
  __device__ __forceinline__ void hand_over(const Conv1dWgmmaParams& p) { leave(p, full); }
  /// The slab goes back, when the storing warps have called this.
  __device__ __forceinline__ void give_back(const Conv1dWgmmaParams& p) { leave(p, empty); }
  /// Calls take(channel, values) for each pass of a tile when its slab is full, and gives the slab
  /// back.
  /// @param channels  of the tile, pass_channels of which pass at a time
  template <typename Take>
  __device__ __forceinline__ void take_tile(const Conv1dWgmmaParams& p, int channels,
                                            int pass_channels, Take&& take) {
    for (int channel = 0; channel < channels; channel += pass_channels) {
      wait_full();
      take(channel, values(p));
      give_back(p);
    }
  }

 private:
  __device__ __forceinline__ void leave(const Conv1dWgmmaParams& p, uint32_t barriers) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      mbarrier_arrive(barriers + ring.index * 8);
    }
    ring.advance(kSlabs > 0 ? kSlabs : p.slabs);
    ++pass;
  }
};

/// The biases of a block's channels, zeros where there is none, and where outputs are spread those
/// that are activations of them alone. All threads of the block.
/// @tparam kHalvesForGelu  GELU's are halved
template <typename T, int kSlots, bool kHalvesForGelu = false>
__device__ __forceinline__ void load_conv1d_biases(const Conv1dWgmmaParams& p, int group,
                                                   int block_channel, int block_channels,
                                                   float* biases, uint32_t* fillers) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= kSlots) {
    return;
  }
  const int out_channels = static_cast<int>(p.problem.out_channels), o = block_channel + i;
  const T* bias = static_cast<const T*>(p.problem.bias);
  const float value = bias != nullptr && i < block_channels && o < out_channels
                          ? to_accumulate(bias[static_cast<int64_t>(group) * out_channels + o])
                          : 0.0f;
  biases[i] = kHalvesForGelu && p.problem.activation == Activation::kGelu ? 0.5f * value : value;
  if (p.correlation.spread > 1) {
    with_activation(p.problem.activation, [&](auto kind) {
      const float filler = ActivationFor<T, decltype(kind)>::forward(value);
      if constexpr (sizeof(T) == 2) {
        fillers[i] = pack_pair<T>(filler, filler);
      } else {
        fillers[i] = __float_as_uint(filler);
      }
    });
  }
}

#endif

}  // namespace kernelopt
