// What the product warpgroups of the separable kernel store: a thread's results of a channel are
// eight pixels, in vectors of neighbours, which go to memory at once or, in 16 bit, by way of its
// warp's slabs, which the copy engine stores.
#pragma once

#include "common/row_window.cuh"
#include "separable/separable_wgmma_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The output without its pointwise activation at some channels of a pixel, in plain fp32: for
/// results that a split in parts made NaN or Inf.
template <int kChannels, typename T>
__device__ __forceinline__ void separate_exactly(const SeparableWgmmaProblem& problem, int n,
                                                 int pixel_y, int pixel_x,
                                                 const int (&o)[kChannels],
                                                 float (&sums)[kChannels]) {
  const SeparableAxis &h = problem.h, &w = problem.w;
  const T* weight = static_cast<const T*>(problem.depthwise_weight);
#pragma unroll
  for (int i = 0; i < kChannels; ++i) {
    sums[i] = 0;
  }
#pragma unroll 1
  for (int c = 0; c < problem.channels; ++c) {
    const T* input = static_cast<const T*>(problem.input) +
                     (static_cast<int64_t>(n) * problem.channels + c) * h.input_size * w.input_size;
    float hidden = problem.depthwise_bias == nullptr
                       ? 0.0f
                       : to_accumulate(static_cast<const T*>(problem.depthwise_bias)[c]);
#pragma unroll 1
    for (int i = 0; i < h.kernel_size; ++i) {
      const int y = pixel_y * h.stride - h.padding + i * h.dilation;
#pragma unroll 1
      for (int j = 0; j < w.kernel_size; ++j, ++weight) {
        const int x = pixel_x * w.stride - w.padding + j * w.dilation;
        if (y >= 0 && y < h.input_size && x >= 0 && x < w.input_size) {
          hidden = fmaf(to_accumulate(*weight), to_accumulate(input[y * w.input_size + x]), hidden);
        }
      }
    }
    hidden = apply_activation(problem.depthwise_activation, hidden);
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      if (o[i] < problem.out_channels) {
        const T* factor = static_cast<const T*>(problem.pointwise_weight) +
                          static_cast<int64_t>(o[i]) * problem.channels + c;
        sums[i] = fmaf(to_accumulate(*factor), hidden, sums[i]);
      }
    }
  }
}

/// A store of 8 or 16 bytes that the caches need not keep.
__device__ __forceinline__ void store_streaming(void* destination, uint32_t a, uint32_t b) {
  asm volatile("st.global.cs.v2.b32 [%0], {%1, %2};" ::"l"(destination), "r"(a), "r"(b) : "memory");
}
__device__ __forceinline__ void store_streaming(void* destination, uint32_t a, uint32_t b,
                                                uint32_t c, uint32_t d) {
  asm volatile("st.global.cs.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(destination), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}

/// Where a thread's pixels of a tile go: its first and fifth one.
struct SeparablePixels {
  int y[2], x[2];  // in the tile

  template <typename T>
  __device__ __forceinline__ SeparablePixels(const SeparableWgmmaParams& p, int warp, int lane, T) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int pixel = warp * 64 + SeparableOperandLayout<T>::thread_pixel(lane / 4, 4 * i);
      y[i] = pixel / p.tile_width;
      x[i] = pixel - y[i] * p.tile_width;
    }
  }
  /// In a plane, from the tile's first pixel.
  __device__ __forceinline__ int offset(const SeparableWgmmaParams& p, int i) const {
    return y[i] * p.problem.w.output_size + x[i];
  }
  __device__ __forceinline__ bool valid(const SeparableWgmmaParams& p,
                                        const SeparableTileCursor& cursor, int i) const {
    return y[i] < min(p.tile_height, p.problem.h.output_size - cursor.y) &&
           x[i] < p.problem.w.output_size - cursor.x;
  }
};

/// What a thread stores of a tile. Opaque to the compiler, which otherwise computes all of it again
/// for every channel, as the accumulators leave few registers.
struct SeparableTarget {
  int second;     // elements from its first pixels to its second ones
  int limits[2];  // of the channels, from the thread's first one on, 0 where the pixels are none
  uint32_t bias;  // shared address of its first channel's

  __device__ __forceinline__ void hide() {
    asm volatile("" : "+r"(second), "+r"(limits[0]), "+r"(limits[1]), "+r"(bias));
  }
};

/// Eight pixels of a channel in the words that are stored.
template <typename T>
struct PixelWords {
  static constexpr int kCount = 2 * static_cast<int>(sizeof(T));
  uint32_t words[kCount];

  __device__ __forceinline__ explicit PixelWords(const float (&z)[8]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if constexpr (sizeof(T) == 4) {
        words[i] = __float_as_uint(z[i]);
      } else {
        words[i] = pack_pair<T>(z[2 * i], z[2 * i + 1]);
      }
    }
  }
  /// @param output  the thread's first pixel
  /// @param wide    whether all eight pixels of 16 bits are one vector
  __device__ __forceinline__ void store(T* output, const SeparableTarget& target, int column,
                                        bool wide) const {
    if constexpr (sizeof(T) == 4) {
      if (column < target.limits[0]) {
        store_streaming(output, words[0], words[1], words[2], words[3]);
      }
      if (column < target.limits[1]) {
        store_streaming(output + target.second, words[4], words[5], words[6], words[7]);
      }
    } else if (wide) {
      if (column < target.limits[0]) {
        store_streaming(output, words[0], words[1], words[2], words[3]);
      }
    } else {
      if (column < target.limits[0]) {
        store_streaming(output, words[0], words[1]);
      }
      if (column < target.limits[1]) {
        store_streaming(output + target.second, words[2], words[3]);
      }
    }
  }
  /// To shared memory, of 16-bit pixels.
  __device__ __forceinline__ void store_shared(uint32_t address) const {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(words[0]),
                 "r"(words[1]), "r"(words[2]), "r"(words[3])
                 : "memory");
  }
};

#endif

}  // namespace kernelopt
