// The loading warps of the separable kernel: copy the input that a tile of output pixels reads, 16
// channels a stage, with zeros outside the image.
#pragma once

#include "common/bulk_copy.cuh"
#include "common/wgmma.cuh"
#include "separable/separable_wgmma_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Where a block's walk over its tiles stands; all its warps walk alike.
struct SeparableTileCursor {
  int tile;
  int n, y, x;  // the tile's image and its first output pixel

  __device__ __forceinline__ explicit SeparableTileCursor(const SeparableWgmmaParams& p) {
    enter(p, blockIdx.x);
  }
  __device__ __forceinline__ bool inside(const SeparableWgmmaParams& p) const {
    return tile < p.tiles;
  }
  __device__ __forceinline__ void advance(const SeparableWgmmaParams& p) {
    enter(p, tile + static_cast<int>(gridDim.x));
  }
  __device__ __forceinline__ void enter(const SeparableWgmmaParams& p, int next) {
    tile = next;
    const int row = tile / p.tiles_x;
    x = (tile - row * p.tiles_x) * p.tile_width;
    n = row / p.tiles_y;
    y = (row - n * p.tiles_y) * p.tile_height;
  }
};

/// A place in a ring of buffers and the parity of its round.
struct RingPlace {
  int index;
  uint32_t parity;

  __device__ __forceinline__ void advance(int count, int size) {
    index += count;
    if (index >= size) {
      index -= size;
      parity ^= 1;
    }
  }
};

/// The element of a stage's rows at which a tile's window begins: rows keep their places in units.
__device__ __forceinline__ int window_place(const SeparableWgmmaParams& p, int unit_elements,
                                            int x) {
  return (x * p.problem.w.stride - p.problem.w.padding) & (unit_elements - 1);
}

/// Whether element 0 of an image's row `row`, counted through all images and channels, is the
/// second of its unit. Only with odd_rows.
template <typename T>
__device__ __forceinline__ int row_parity(const SeparableWgmmaParams& p, int row) {
  const int base = static_cast<int>(reinterpret_cast<uintptr_t>(p.problem.input) / sizeof(T));
  return (base + row * p.problem.w.input_size) & 1;
}

template <typename T, int kUnitBytes, bool kOddRows>
__device__ __forceinline__ void load_separable_stages(const SeparableWgmmaParams& p,
                                                      uint32_t stages, uint32_t full,
                                                      uint32_t empty) {
  using Shape = SeparableWgmmaShape;
  constexpr int kSize = static_cast<int>(sizeof(T)), kVector = kUnitBytes / kSize;
  const int thread = threadIdx.x % Shape::kLoadThreads;
  const int height = p.problem.h.input_size, width = p.problem.w.input_size;
  const int plane = height * width;
  const int items = Shape::kChunkChannels * p.rows * p.units;
  RingPlace stage{0, 1};
  for (SeparableTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const int y_begin = cursor.y * p.problem.h.stride - p.problem.h.padding;
    const int x_begin =
        cursor.x * p.problem.w.stride - p.problem.w.padding - window_place(p, kVector, cursor.x);
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
      const int channel = chunk * Shape::kChunkChannels;
      const int channels = p.problem.channels - channel;
      const T* source = static_cast<const T*>(p.problem.input) +
                        (static_cast<int64_t>(cursor.n) * p.problem.channels + channel) * plane +
                        static_cast<int64_t>(y_begin) * width + x_begin;
      mbarrier_wait(empty + stage.index * 8, stage.parity);
      const uint32_t destination = stages + stage.index * p.stage_bytes;
#pragma unroll 2
      for (int item = thread; item < items; item += Shape::kLoadThreads) {
        const int line = static_cast<int>(__umulhi(item, p.units_inverse));
        const int unit = item - line * p.units;
        const int c = static_cast<int>(__umulhi(line, p.rows_inverse));
        const int row = line - c * p.rows;
        const int y = y_begin + row;
        int x = x_begin + unit * kVector;
        const T* from = source + c * plane + row * width + unit * kVector;
        if (kOddRows) {
          const int back =
              row_parity<T>(p, (cursor.n * p.problem.channels + channel + c) * height + y);
          x -= back;
          from -= back;
        }
        const bool inside = c < channels && y >= 0 && y < height && x > -kVector && x < width;
        if (kOddRows && inside && (x < 0 || x + kVector > width)) {
          // Half of the unit lies outside the row.
          const uint32_t element = *reinterpret_cast<const uint16_t*>(x < 0 ? from + 1 : from);
          asm volatile("st.shared.u32 [%0], %1;" ::"r"(destination + item * kUnitBytes),
                       "r"(x < 0 ? element << 16 : element)
                       : "memory");
          continue;
        }
        copy_async<kUnitBytes>(destination + item * kUnitBytes, inside ? from : p.problem.input,
                               inside);
      }
      if (kOddRows) {
        __threadfence_block();
      }
      asm volatile(
          "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(full + stage.index * 8)
          : "memory");
      stage.advance(1, p.stages);
    }
  }
}

#endif

}  // namespace kernelopt
