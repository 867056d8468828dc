// The weights of the separable kernels, loaded once a block.
#pragma once

#include "common/wgmma.cuh"
#include "separable/separable_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The block's pointwise weights as [chunk][part][k / 8][slot][k % 8], zeros where there is none.
template <typename T, typename Params>
__device__ __forceinline__ void pack_pointwise_weights(const Params& p, uint4* packed) {
  constexpr int kParts = MmaTraits<T>::kParts;
  const T* weight = static_cast<const T*>(p.problem.pointwise_weight);
  for (int item = threadIdx.x; item < p.slots * p.chunks * 2; item += blockDim.x) {
    const int octet = item / p.slots, slot = item - octet * p.slots;
    const int o = blockIdx.y * p.slots + slot;
    T values[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int c = octet * 8 + i;
      values[i] = o < p.problem.out_channels && c < p.problem.channels
                      ? weight[static_cast<int64_t>(o) * p.problem.channels + c]
                      : from_accumulate<T>(0.0f);
    }
    uint4* high = packed + (octet / 2 * kParts * 2 + octet % 2) * p.slots + slot;
    store_operands(values, high, high + 2 * p.slots);
  }
}

/// Depthwise taps and biases as fp32, zeros for channels that only fill the last chunk.
/// @return whether all this thread read are finite
template <typename T, typename Params>
__device__ __forceinline__ bool load_depthwise_taps(const Params& p, float* taps) {
  const int count = p.problem.h.kernel_size * p.problem.w.kernel_size;
  float probe = 0;
  for (int item = threadIdx.x; item < p.chunks * SeparableWgmmaShape::kChunkChannels * p.tap_pitch;
       item += blockDim.x) {
    const int c = item / p.tap_pitch, tap = item - c * p.tap_pitch;
    float value = 0;
    if (c < p.problem.channels && tap < count) {
      value = to_accumulate(
          static_cast<const T*>(p.problem.depthwise_weight)[static_cast<int64_t>(c) * count + tap]);
      probe = fmaf(value, 0.0f, probe);
    } else if (c < p.problem.channels && tap == count && p.problem.depthwise_bias != nullptr) {
      value = to_accumulate(static_cast<const T*>(p.problem.depthwise_bias)[c]);
    }
    taps[item] = value;
  }
  return probe == 0.0f;
}

#endif

}  // namespace kernelopt
