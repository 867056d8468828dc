// The loading warps of the warpgroup kernel of the pointwise weight gradient. Includes no torch
// header.
#pragma once

#include "separable/channel_gemm_wgmma_load.cuh"
#include "separable/channel_gradient_wgmma_plan.h"
#include "separable/split_chunks.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where a chunk begins.
struct GradientChunk {
  int image;
  int chunk;  // of the image

  __device__ __forceinline__ GradientChunk(const ChannelGradientWgmmaParams& p, int index)
      : image(index / p.image_chunks), chunk(index % p.image_chunks) {}
  __device__ __forceinline__ void next(const ChannelGradientWgmmaParams& p) {
    if (++chunk == p.image_chunks) {
      chunk = 0;
      ++image;
    }
  }
};

/// Copies 16-bit chunks [begin, end) of the block's channels, by a warpgroup.
template <typename T, int kN, bool kPlanes>
__device__ __forceinline__ void load_gradient_chunks(const ChannelGradientWgmmaParams& p,
                                                     int first_row, int first_column, int64_t begin,
                                                     int64_t end, uint32_t stages, uint32_t full,
                                                     uint32_t empty) {
  using Shape = ChannelGradientWgmmaShape;
  constexpr int kPixels = Shape::pixels(sizeof(T));
  constexpr int kPanelBytes = Shape::kColumns * Shape::kChunkBytes;
  LoadRing ring(p.stages, full, empty);
  GradientChunk at(p, begin);
  for (int i = begin; i < end; ++i) {
    ring.begin();
    const int64_t pixel = int64_t{at.chunk} * kPixels;
    const int pixels = static_cast<int>(min(p.pixels - pixel, int64_t{kPixels}));
    const auto load = [&](uint32_t place, const ChannelGradientOperand& from, int channel,
                          auto count) {
      constexpr int kCount = decltype(count)::value;
      const T* data = static_cast<const T*>(from.data);
      if constexpr (kPlanes) {
        load_rows<T, kCount>(
            place,
            reinterpret_cast<const char*>(
                data + (int64_t{at.image} * from.channels + channel) * p.pixels + pixel),
            p.pixels * 2, from.channels - channel, pixels * 2, from.piece);
      } else {
#pragma unroll
        for (int panel = 0; panel < kCount / Shape::kColumns; ++panel) {
          const int first = channel + panel * Shape::kColumns;
          load_rows<T, kPixels>(place + panel * kPanelBytes,
                                reinterpret_cast<const char*>(data + pixel * from.channels + first),
                                int64_t{from.channels} * 2, pixels, (from.channels - first) * 2,
                                from.piece);
        }
      }
    };
    const uint32_t place = stages + ring.stage * Shape::stage_bytes(kN);
    load(place, p.grad, first_row, std::integral_constant<int, Shape::kTileM>{});
    load(place + Shape::kTileM * Shape::kChunkBytes, p.input, first_column,
         std::integral_constant<int, kN>{});
    ring.end<Shape::kPending>();
    at.next(p);
  }
  ring.finish<Shape::kPending>();
}

/// The same in fp32, of one operand, split in bf16 parts.
/// @param place, raw  of the operand in the first stage, and of its copies
template <int kCount, bool kPlanes>
__device__ __forceinline__ void split_gradient_chunks(const ChannelGradientWgmmaParams& p,
                                                      const ChannelGradientOperand& from,
                                                      int first_channel, int begin, int end,
                                                      uint32_t place, uint32_t raw, int stage_bytes,
                                                      uint32_t full, uint32_t empty) {
  constexpr int kPixels = ChannelGradientWgmmaShape::pixels(4);
  const int channels = from.channels - first_channel;
  GradientChunk at(p, begin);
  const SplitStages stages{place, raw, stage_bytes, p.stages, full, empty};
  split_chunks<kCount, kPlanes>(
      stages, end - begin, kPlanes ? p.pixels : from.channels, from.piece == 16, [&] {
        const int64_t pixel = int64_t{at.chunk} * kPixels;
        const int pixels = static_cast<int>(min(p.pixels - pixel, int64_t{kPixels}));
        const float* data = static_cast<const float*>(from.data);
        const SplitRows rows =
            kPlanes
                ? SplitRows{data + (int64_t{at.image} * from.channels + first_channel) * p.pixels +
                                pixel,
                            channels, pixels}
                : SplitRows{data + pixel * from.channels + first_channel, pixels, channels};
        at.next(p);
        return rows;
      });
}

#endif

}  // namespace kernelopt
