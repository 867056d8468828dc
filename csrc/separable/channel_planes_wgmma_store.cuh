// The end of a tile of the warpgroup kernel of contiguous images. Includes no torch header.
#pragma once

#include "separable/channel_gemm_wgmma_store.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The sum of a result in plain fp32, as multiply_exactly().
template <typename T>
__device__ __forceinline__ float multiply_planes_exactly(const ChannelGemmWgmmaParams& p,
                                                         int64_t image, int channel,
                                                         int64_t pixel) {
  const T* plane = static_cast<const T*>(p.left) + image * p.k * p.m + pixel;
  const T* weight = static_cast<const T*>(p.right) + channel * p.right_n_stride;
  float sum = 0;
#pragma unroll 1
  for (int k = 0; k < p.k; ++k) {
    sum = fmaf(to_accumulate(*plane), to_accumulate(*weight), sum);
    plane += p.m;
    weight += p.right_k_stride;
  }
  return sum;
}

/// What the tiles of 64 channels x 128 pixels that a thread has accumulators of add up to.
enum class PlanesTiles {
  kAlongChannels,
  kAlongPixels,
};

/// Whether all sums of the warp are finite; 16-bit operands need not be asked, as their sums are
/// not made of parts.
template <typename T, int kTiles, int kRegisters>
__device__ __forceinline__ bool planes_sums_are_finite(
    const float (&accumulators)[kTiles][kRegisters]) {
  if constexpr (MmaTraits<T>::kParts == 2) {
    float probe = 0;
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int i = 0; i < kRegisters; ++i) {
        probe = fmaf(accumulators[m][i], 0.0f, probe);
      }
    }
    return __all_sync(0xffffffffu, probe == 0.0f);
  }
  return true;
}

/// Stores accumulators with any activation, and those again that are not finite.
/// @param row, channel, image, pixel, biases  as in store_planes_tile()
/// @param pixels   of the tiles, inside the image
template <typename T, PlanesTiles kOrder, int kTiles, int kRegisters>
__device__ __forceinline__ void store_planes_groups(const ChannelGemmWgmmaParams& p,
                                                    const float (&accumulators)[kTiles][kRegisters],
                                                    bool finite, int row, int channel,
                                                    int64_t image, int64_t pixel, int pixels,
                                                    const float* biases) {
  constexpr bool kAcross = kOrder == PlanesTiles::kAlongPixels;
  constexpr int kGroups = kRegisters / 16;
  T* result = static_cast<T*>(p.result) + (image * p.n + channel + row) * p.m + pixel;
  // One body for all groups, as in store_channel_tile().
#pragma unroll 1
  for (int group = 0; group < kGroups * kTiles * 2; ++group) {
    float values[8];
    pick_group<0, kGroups * kTiles * 2>(accumulators, group, values);
    const int tile = group / 2 % kTiles;
    const int distance = (kAcross ? 0 : tile * 64) + group % 2 * 8;
    const int first = (kAcross ? tile * kRegisters * 2 : 0) + group / 2 / kTiles * kGroupColumns;
    const int inside = channel + row + distance < p.n ? pixels - first : 0;
    if constexpr (MmaTraits<T>::kParts == 2) {
      if (!finite) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const int place = i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
          if (place < inside && !isfinite(values[i])) {
            values[i] = multiply_planes_exactly<T>(p, image, channel + row + distance,
                                                   pixel + first + place);
          }
        }
      }
    }
    const float bias = biases[row + distance];
    with_activation(p.activation, [&](auto kind) {
      using ActivationType = ActivationFor<T, decltype(kind)>;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        values[i] = ActivationType::forward(values[i] + bias);
      }
    });
    store_vectors(result + distance * p.m + first, inside, values);
  }
}

/// Stores the accumulators of kTilesM x 64 channels of 128 pixels.
/// @param row      of the thread's first accumulator in the block; others are 8 and 64 after it
/// @param channel  the block's first
/// @param pixel    the tile's first
/// @param biases   of the block's channels
template <typename T, int kTilesM, int kRegisters>
__device__ __forceinline__ void store_planes_tile(const ChannelGemmWgmmaParams& p,
                                                  const float (&accumulators)[kTilesM][kRegisters],
                                                  int row, int channel, int64_t image,
                                                  int64_t pixel, const float* biases) {
  constexpr int kGroups = kRegisters / 16;
  const bool finite = planes_sums_are_finite<T>(accumulators);
  const int pixels = static_cast<int>(min(p.m - pixel, int64_t{kRegisters * 2}));
  if (!finite || (p.activation != Activation::kNone && p.activation != Activation::kRelu)) {
    store_planes_groups<T, PlanesTiles::kAlongChannels>(p, accumulators, finite, row, channel,
                                                        image, pixel, pixels, biases);
    return;
  }
  T* result = static_cast<T*>(p.result) + (image * p.n + channel + row) * p.m + pixel;
  const float least = p.activation == Activation::kRelu ? 0.0f : -INFINITY;
#pragma unroll
  for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int distance = m * 64 + half * 8;
      const float bias = biases[row + distance];
      const int inside = channel + row + distance < p.n ? pixels : 0;
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        float values[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float z = accumulators[m][(group * 4 + i / 2) * 4 + half * 2 + i % 2] + bias;
          values[i] = z < least ? least : z;
        }
        store_vectors(result + distance * p.m + group * kGroupColumns,
                      inside - group * kGroupColumns, values);
      }
    }
  }
}

#endif

}  // namespace kernelopt
