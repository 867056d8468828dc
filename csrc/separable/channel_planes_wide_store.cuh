// The end of a tile of the kernel of wide tiles: a warp's rows leave through shared memory, so that
// it writes 512 bytes of a plane at once. Written from where the accumulators lie, 64 bytes of
// eight planes each, the same rows took 3% longer. Includes no torch header.
#pragma once

#include "separable/channel_planes_wgmma_store.cuh"
#include "separable/channel_planes_wide_plan.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Two neighbours, rounded, to shared memory.
template <typename T>
__device__ __forceinline__ void store_shared_pair(uint32_t place, float first, float second) {
  if constexpr (sizeof(T) == 4) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(place), "f"(first), "f"(second)
                 : "memory");
  } else {
    const T pair[2] = {from_accumulate<T>(first), from_accumulate<T>(second)};
    const uint32_t word = *reinterpret_cast<const uint16_t*>(&pair[0]) |
                          static_cast<uint32_t>(*reinterpret_cast<const uint16_t*>(&pair[1])) << 16;
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(place), "r"(word) : "memory");
  }
}

/// Stores the accumulators of 64 channels of kTiles times 128 pixels. A warpgroup calls it.
/// @param row      the warp's first in the block; of its 16
/// @param channel  the block's first
/// @param pixel    the first one
/// @param biases   of the block's channels
/// @param place    the warp's part of shared memory
template <typename T, int kTiles, int kRegisters>
__device__ __forceinline__ void store_wide_planes(const ChannelGemmWgmmaParams& p,
                                                  const float (&accumulators)[kTiles][kRegisters],
                                                  int row, int channel, int64_t image,
                                                  int64_t pixel, const float* biases,
                                                  uint32_t place) {
  using Shape = WidePlanesStoreShape;
  constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  constexpr int kTilePixels = Shape::tile_pixels(kTiles), kPixels = Shape::pixels(kTiles, kSize);
  constexpr int kPitch = Shape::pitch(kTiles, kSize);
  constexpr int kLanes = kPixels / kVector;  // that write a row
  const int lane = threadIdx.x % 32;
  const bool finite = planes_sums_are_finite<T>(accumulators);
  const int pixels = static_cast<int>(min(p.m - pixel, int64_t{kTilePixels}));
  if (!finite || (p.activation != Activation::kNone && p.activation != Activation::kRelu)) {
    store_planes_groups<T, PlanesTiles::kAlongPixels>(p, accumulators, finite, row + lane / 4,
                                                      channel, image, pixel, pixels, biases);
    return;
  }
  const float least = p.activation == Activation::kRelu ? 0.0f : -INFINITY;
  const uint32_t to = place + lane / 4 * kPitch + lane % 4 * 2 * kSize;
  const uint32_t from = place + lane / kLanes * kPitch + lane % kLanes * 16;
  const int column = lane % kLanes * kVector;
  T* result = static_cast<T*>(p.result) + (image * p.n + channel + row) * p.m + pixel + column;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float bias = biases[row + half * 8 + lane / 4];
#pragma unroll
    for (int first = 0; first < kTilePixels; first += kPixels) {
      __syncwarp();  // the rows before are read
#pragma unroll
      for (int eight = 0; eight < kPixels / 8; ++eight) {
        const int at = first / 8 + eight;  // of the accumulators' eights of pixels
        float values[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float z = accumulators[at / 16][at % 16 * 4 + half * 2 + i] + bias;
          values[i] = z < least ? least : z;
        }
        store_shared_pair<T>(to + eight * 8 * kSize, values[0], values[1]);
      }
      __syncwarp();
#pragma unroll
      for (int line = 0; line < Shape::kRows; line += 32 / kLanes) {
        const int distance = half * 8 + line + lane / kLanes;
        uint32_t words[4];
        asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "r"(from + line * kPitch)
                     : "memory");
        if (channel + row + distance < p.n && first + column < pixels) {
          store_vector(result + distance * p.m + first,
                       make_uint4(words[0], words[1], words[2], words[3]));
        }
      }
    }
  }
}

#endif

}  // namespace kernelopt
