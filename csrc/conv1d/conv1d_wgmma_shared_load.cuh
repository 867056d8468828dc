// The loading warp of conv1d_wgmma_shared_kernel and conv1d_wgmma_held_kernel: copies windows of
// the input as they lie in memory, up to 32 channels a stage, as boxes of a tensor map or piece by
// piece.
#pragma once

#include "conv1d/conv1d_wgmma_load.cuh"
#include "conv1d/conv1d_wgmma_shared_params.h"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// Positions from the first that a tile reads to the last, but for the taps.
__device__ __forceinline__ int window_runs(const Conv1dWgmmaSharedParams& p, int run) {
  const int runs = min(p.tile_runs, p.correlation.positions - run);
  return (runs - 1) * p.correlation.input_step + 1;
}

/// Initializes a ring's barriers, `size` for full buffers and as many for empty ones.
__device__ __forceinline__ void init_ring(uint32_t full, uint32_t empty, int size,
                                          int full_arrivals, int empty_arrivals) {
  for (int i = 0; i < size; ++i) {
    mbarrier_init(full + i * 8, full_arrivals);
    mbarrier_init(empty + i * 8, empty_arrivals);
  }
}

/// Arrives when all copies that this thread has started are complete.
__device__ __forceinline__ void mbarrier_arrive_copies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

/// A lane's walk over the pieces of a window: 16 aligned bytes of a row each, 32 pieces a step.
struct WindowPieces {
  uint64_t source;  // not yet aligned: the row's place in 16 bytes is added
  uint32_t destination;
  int piece, piece_step, pieces;
  int64_t row_bytes, source_step;
  int pitch, destination_step;

  /// @param address  of the window's first element
  __device__ __forceinline__ WindowPieces(uint64_t address, int64_t stride, uint32_t window,
                                          int window_pitch, int row_pieces)
      : pieces(row_pieces), row_bytes(stride), pitch(window_pitch) {
    const int lane = threadIdx.x % 32;
    const int row = lane / pieces, row_step = 32 / pieces;
    piece = lane - row * pieces;
    piece_step = 32 - row_step * pieces;
    source = address + row * stride + piece * 16;
    destination = window + row * pitch + piece * 16;
    source_step = row_step * stride + piece_step * 16;
    destination_step = row_step * pitch + piece_step * 16;
    row_bytes -= pieces * 16;
    pitch -= pieces * 16;
  }
  __device__ __forceinline__ void advance() {
    piece += piece_step;
    source += source_step;
    destination += destination_step;
    if (piece >= pieces) {
      piece -= pieces;
      source += row_bytes;
      destination += pitch;
    }
  }
};

/// A warp's copies of a window: rows of `length` elements from `position` on. Zeros outside the
/// input, except that of a piece in which a row begins the elements before may be others of the
/// tensor's; clear_before_rows() mends those.
template <typename T>
__device__ __forceinline__ void load_window(const Conv1dWgmmaSharedParams& p, int n,
                                            int64_t channel, int rows, int position, int length,
                                            uint32_t window) {
  constexpr int kSize = static_cast<int>(sizeof(T)), kVector = 16 / kSize;
  const int in_length = static_cast<int>(p.problem.in_length);
  const uint64_t input = reinterpret_cast<uint64_t>(p.problem.input);
  const int pieces = (length * kSize + 31 - kSize) / 16;  // wherever in 16 bytes a row begins
  WindowPieces walk(input + (n * p.problem.input_strides.batch +
                             channel * p.problem.input_strides.channel + position) *
                                kSize,
                    p.problem.input_strides.channel * kSize, window, p.window_pitch, pieces);
  const int total = rows * pieces;
  int i = threadIdx.x % 32;
  if (position >= kVector && position + pieces * kVector <= in_length) {
#pragma unroll 4
    for (; i < total; i += 32) {
      copy_async_part(walk.destination, reinterpret_cast<const void*>(walk.source & ~uint64_t{15}),
                      16);
      walk.advance();
    }
    return;
  }
#pragma unroll 1
  for (; i < total; i += 32) {
    const uint64_t source = walk.source & ~uint64_t{15};
    // Of the row, the piece's first element.
    const int first = position + walk.piece * kVector - static_cast<int>(walk.source % 16) / kSize;
    const int stop = min(kVector, in_length - first);
    if (first + kVector <= 0 || stop <= 0) {
      copy_async_part(walk.destination, p.problem.input, 0);
    } else if (source >= input) {
      copy_async_part(walk.destination, reinterpret_cast<const void*>(source), stop * kSize);
    } else {
      // The tensor begins within the piece.
      T* elements = reinterpret_cast<T*>(__cvta_shared_to_generic(walk.destination));
      for (int e = max(-first, 0); e < stop; ++e) {
        elements[e] = reinterpret_cast<const T*>(source)[e];
      }
    }
    walk.advance();
  }
}

/// The loading warp's first lane where windows are boxes: one copy each, which begins on 16 bytes
/// as the pieces do.
template <typename T>
__device__ __forceinline__ void load_conv1d_boxes(const Conv1dWgmmaSharedParams& p,
                                                  uint32_t windows, uint32_t full, uint32_t empty) {
  constexpr int kVector = 16 / static_cast<int>(sizeof(T));
  const int group = blockIdx.y / p.n_blocks;
  const int taps = p.correlation.taps;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  RingCursor ring;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    for (int channel = 0; channel < in_channels; channel += p.stage_channels) {
      for (int tap = 0; tap < taps; tap += p.taps_per_step) {
        const int position = cursor.run * p.correlation.input_step + p.correlation.input_first +
                             tap * p.correlation.tap_step;
        const int first = position & -kVector;  // rounded down, below 0 as well
        // Divided by 1, 2 or 4.
        const int begin[4] = {first >> p.map_elements / 2, group * in_channels + channel, cursor.n,
                              0};
        mbarrier_wait(empty + ring.index * 8, ring.parity ^ 1);
        mbarrier_arrive_expect(full + ring.index * 8, p.window_bytes);
        tensor_load(windows + ring.index * p.window_bytes, &p.input_map, begin,
                    full + ring.index * 8);
        ring.advance(p.stages);
      }
    }
  }
}

/// The loading warp: for every step of every tile a window of the stage's channels.
template <typename T>
__device__ __forceinline__ void load_conv1d_windows(const Conv1dWgmmaSharedParams& p,
                                                    uint32_t windows, uint32_t full,
                                                    uint32_t empty) {
  const int group = blockIdx.y / p.n_blocks;
  const int taps = p.correlation.taps;
  const int in_channels = static_cast<int>(p.problem.in_channels);
  RingCursor ring;
  for (Conv1dTileCursor cursor(p); cursor.inside(p); cursor.advance(p)) {
    const int runs = window_runs(p, cursor.run);
    for (int channel = 0; channel < in_channels; channel += p.stage_channels) {
      for (int tap = 0; tap < taps; tap += p.taps_per_step) {
        const int step_taps = min(p.taps_per_step, taps - tap);
        mbarrier_wait(empty + ring.index * 8, ring.parity ^ 1);
        load_window<T>(p, cursor.n, static_cast<int64_t>(group) * in_channels + channel,
                       min(p.stage_channels, in_channels - channel),
                       cursor.run * p.correlation.input_step + p.correlation.input_first +
                           tap * p.correlation.tap_step,
                       runs + (step_taps - 1) * p.correlation.tap_step,
                       windows + ring.index * p.window_bytes);
        mbarrier_arrive_copies(full + ring.index * 8);
        ring.advance(p.stages);
      }
    }
  }
}

#endif

}  // namespace kernelopt
