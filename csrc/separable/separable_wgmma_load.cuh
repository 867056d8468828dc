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

template <typename T>
__device__ __forceinline__ float load_shared_element(uint32_t address) {
  if constexpr (sizeof(T) == 4) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address));
    return value;
  } else {
    uint16_t bits;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(bits) : "r"(address));
    if constexpr (std::is_same_v<T, __half>) {
      return __half2float(__ushort_as_half(bits));
    } else {
      return __uint_as_float(static_cast<uint32_t>(bits) << 16);
    }
  }
}

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

/// copy_async() of a unit. Those of 16 bytes fetch the rest of their 128 bytes into the L2 cache,
/// where other lanes and the next tile find it.
template <int kBytes>
__device__ __forceinline__ void copy_unit(uint32_t destination, const void* source, bool valid) {
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(destination),
                 "l"(source), "r"(valid ? 16 : 0)
                 : "memory");
  } else {
    copy_async<kBytes>(destination, source, valid);
  }
}

template <typename T>
__device__ __forceinline__ uint32_t bits_of(const T* element) {
  return *reinterpret_cast<const uint16_t*>(element);
}

/// The boxes of an operand warpgroup's stages, every second one, which one of its threads starts
/// the copies of. Zeros stand outside the image and for channels beyond the last. The engine takes
/// boxes that begin at multiples of 16 bytes alone.
template <typename T>
struct SeparableBoxes {
  SeparableTileCursor cursor;
  RingPlace stage;
  int chunk;

  __device__ __forceinline__ SeparableBoxes(const SeparableWgmmaParams& p, int warpgroup)
      : cursor(p), stage{warpgroup, 1}, chunk(warpgroup) {}

  /// Starts the copy of the next box, if there is one, once its stage is empty.
  __device__ __forceinline__ void start(const SeparableWgmmaParams& p,
                                        const SeparableWgmmaMaps& maps, uint32_t stages,
                                        uint32_t full, uint32_t empty) {
    for (; chunk >= p.chunks; chunk -= p.chunks) {
      cursor.advance(p);
    }
    if (!cursor.inside(p)) {
      return;
    }
    const int x = cursor.x * p.problem.w.stride - p.problem.w.padding;
    const int begin[4] = {x - window_place(p, 16 / static_cast<int>(sizeof(T)), cursor.x),
                          cursor.y * p.problem.h.stride - p.problem.h.padding,
                          chunk * SeparableWgmmaShape::kChunkChannels, cursor.n};
    mbarrier_wait(empty + stage.index * 8, stage.parity);
    mbarrier_arrive_expect(full + stage.index * 8,
                           SeparableWgmmaShape::kChunkChannels * p.rows * p.units * 16);
    tensor_load(stages + stage.index * p.stage_bytes, &maps.input, begin, full + stage.index * 8);
    stage.advance(2, p.stages);
    chunk += 2;
  }
};

/// By all loading threads, for rows that begin anywhere.
template <typename T, int kUnitBytes, bool kOddRows>
__device__ __forceinline__ void load_separable_stages(const SeparableWgmmaParams& p,
                                                      uint32_t stages, uint32_t full,
                                                      uint32_t empty) {
  using Shape = SeparableWgmmaShape;
  constexpr int kSize = static_cast<int>(sizeof(T)), kVector = kUnitBytes / kSize;
  const int thread = threadIdx.x % Shape::kLoadThreads;
  const int height = p.problem.h.input_size, width = p.problem.w.input_size;
  const int plane = height * width;
  // A thread has one unit of every rows_at_once-th row.
  const int rows_at_once = max(Shape::kLoadThreads / p.units, 1);
  const int first_line = thread / p.units;
  const int first_channel = first_line / p.rows, first_row = first_line - first_channel * p.rows;
  const int first_unit = thread - first_line * p.units;
  const int channel_step = rows_at_once / p.rows, row_step = rows_at_once - channel_step * p.rows;
  const int step = channel_step * plane + row_step * width, wrap = plane - p.rows * width;
  const int lines = first_line < rows_at_once ? Shape::kChunkChannels * p.rows : 0;
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
      for (int unit = first_unit; unit < p.units; unit += Shape::kLoadThreads) {
        const int x = x_begin + unit * kVector;
        const bool column_inside = x > -kVector && x < width + (kOddRows ? 1 : 0);
        uint32_t destination =
            stages + stage.index * p.stage_bytes + (first_line * p.units + unit) * kUnitBytes;
        int c = first_channel, row = first_row;
        int offset = c * plane + row * width + unit * kVector;
#pragma unroll 2
        for (int line = first_line; line < lines; line += rows_at_once) {
          const int y = y_begin + row;
          const bool inside = column_inside && c < channels &&
                              static_cast<unsigned>(y) < static_cast<unsigned>(height);
          const T* from = source + offset;
          bool whole = true;
          if (kOddRows) {
            const int back =
                row_parity<T>(p, (cursor.n * p.problem.channels + channel + c) * height + y);
            from -= back;
            whole = !inside || (x >= back && x - back + kVector <= width);
            if (!whole) {
              // Of the unit's elements one or none lies in the row.
              const int first = x - back;
              const uint32_t low = first >= 0 && first < width ? bits_of(from) : 0;
              const uint32_t high = first >= -1 && first + 1 < width ? bits_of(from + 1) : 0;
              asm volatile("st.shared.u32 [%0], %1;" ::"r"(destination), "r"(low | high << 16)
                           : "memory");
            }
          }
          if (whole) {
            copy_unit<kUnitBytes>(destination, inside ? from : p.problem.input, inside);
          }
          destination += rows_at_once * p.units * kUnitBytes;
          c += channel_step;
          row += row_step;
          offset += step;
          if (row >= p.rows) {
            row -= p.rows;
            offset += wrap;
            ++c;
          }
        }
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
