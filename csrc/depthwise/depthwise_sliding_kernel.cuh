// A depthwise correlation of contiguous tensors with a kernel size, a stride and dilation 1 known
// at compile time:
//   result[n, r, y, x] = act(bias[r] + sum over i, j of weight[r, i, j] *
//                            source[n, r / multiplier, y * S - pad_h + i, x * S - pad_w + j])
// A block owns whole planes or a strip of one (see SlidingPlan): its source is one contiguous piece
// of memory, or one a row where rows are cut, and so is its result; both are staged in shared
// memory. A thread owns 16 bytes of some rows and slides down: the source row it loads is added to
// every result row it is part of. Any size, padding and alignment; coordinates below 2^30.
#pragma once

#include "common/bulk_copy.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_sliding_plan.h"
#include "common/row_window.cuh"

namespace kernelopt {

/// What a block owns, and of the source what it reads: [begin, end) of rows and columns.
struct SlidingBlock {
  int64_t plane;  // the first one
  int planes;
  int row, rows;
  int column, columns;
  int source_row_begin, source_row_end;
  int source_column_begin, source_column_end;
};

__device__ __forceinline__ int clamp_to(int value, int limit) {
  return value < 0 ? 0 : value > limit ? limit : value;
}

__device__ __forceinline__ SlidingBlock sliding_block(const DepthwiseParams& params,
                                                      const SlidingPlan& plan) {
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  SlidingBlock block;
  const int rest = static_cast<int>(blockIdx.x) / plan.tiles;
  block.column = (static_cast<int>(blockIdx.x) - rest * plan.tiles) * plan.columns;
  const int group = rest / plan.strips;
  block.row = (rest - group * plan.strips) * plan.rows;
  block.plane = int64_t{group} * plan.planes;
  const int64_t planes = params.batch * params.result_channels - block.plane;
  block.planes = planes < plan.planes ? static_cast<int>(planes) : plan.planes;
  block.rows = min(plan.rows, static_cast<int>(params.h.result_size) - block.row);
  block.columns = min(plan.columns, static_cast<int>(params.w.result_size) - block.column);
  block.source_row_begin = 0;
  block.source_row_end = height;
  if (plan.planes == 1) {
    const int stride = static_cast<int>(params.h.stride);
    const int first = block.row * stride - static_cast<int>(params.h.padding);
    const int end = first + (block.rows - 1) * stride + static_cast<int>(params.h.kernel_size);
    block.source_row_begin = clamp_to(first, height);
    block.source_row_end = clamp_to(end, height);
  }
  block.source_column_begin = 0;
  block.source_column_end = width;
  if (!plan.whole_rows) {
    const int stride = static_cast<int>(params.w.stride);
    const int first = block.column * stride - static_cast<int>(params.w.padding);
    const int end = first + (block.columns - 1) * stride + static_cast<int>(params.w.kernel_size);
    block.source_column_begin = clamp_to(first, width);
    block.source_column_end = clamp_to(end, width);
  }
  return block;
}

/// The pieces of `rows` rows of a block, each of `columns` elements; one piece where rows are
/// whole.
template <typename T>
__device__ __forceinline__ CopyPieces row_pieces(const T* global, int64_t row_length, int rows,
                                                 int columns, bool whole_rows,
                                                 unsigned char* shared, int pitch) {
  CopyPieces pieces;
  pieces.global = reinterpret_cast<char*>(const_cast<T*>(global));
  pieces.global_pitch = row_length * static_cast<int>(sizeof(T));
  pieces.shared = shared + address_modulo_16(global);
  pieces.shared_pitch = pitch;
  pieces.bytes = (whole_rows ? rows : 1) * columns * static_cast<int>(sizeof(T));
  pieces.count = pieces.bytes == 0 ? 0 : whole_rows ? 1 : rows;
  return pieces;
}

template <typename T, int kHeight, int kWidth, int kStride>
__global__ void __launch_bounds__(DepthwiseSlidingPolicy::kMaxThreads)
    depthwise_sliding_kernel(const __grid_constant__ DepthwiseParams params,
                             const __grid_constant__ SlidingPlan plan,
                             const T* __restrict__ source,  // [N, source_channels, h, w]
                             const T* __restrict__ weight,  // [result_channels, kHeight, kWidth]
                             const T* __restrict__ bias,    // [result_channels] or null
                             T* __restrict__ result,        // [N, result_channels, h, w]
                             Activation activation) {
  constexpr int kVec = 16 / sizeof(T);
  constexpr int kTaps = kHeight * kWidth;
  constexpr int kElement = sizeof(T);
  using Window = RowWindow<T, (kVec - 1) * kStride + kWidth>;
  using Sums = SlidingSums<kHeight, kWidth, kStride, kVec>;
  extern __shared__ __align__(16) unsigned char shared[];
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(shared);

  const SlidingBlock block = sliding_block(params, plan);
  const int multiplier = static_cast<int>(params.multiplier);
  const int64_t source_plane = block.plane / multiplier;
  const int plane_rows = block.source_row_end - block.source_row_begin;
  const int source_planes =
      static_cast<int>((block.plane + block.planes - 1) / multiplier - source_plane) + 1;
  const CopyPieces source_pieces = row_pieces(
      source +
          (source_plane * params.h.source_size + block.source_row_begin) * params.w.source_size +
          block.source_column_begin,
      params.w.source_size, source_planes * plane_rows,
      block.source_column_end - block.source_column_begin, plan.whole_rows, shared + kSlidingMargin,
      plan.source_pitch);
  const int64_t source_elements =
      params.batch * params.source_channels * params.h.source_size * params.w.source_size;
  start_load<T>(source_pieces, reinterpret_cast<const char*>(source),
                reinterpret_cast<const char*>(source + source_elements), barrier);

  // The thread's place: a plane of the block, a group of rows, 16 bytes of columns.
  int rest = static_cast<int>(threadIdx.x) / plan.threads_per_row;
  const int vector = static_cast<int>(threadIdx.x) - rest * plan.threads_per_row;
  const int plane = rest / plan.row_groups;
  const int row = (rest - plane * plan.row_groups) * plan.rows_per_thread;
  const int rows = min(plan.rows_per_thread, block.rows - row);
  const int column = vector * kVec;
  const bool active = plane < block.planes && rows > 0 && column < block.columns;

  Sums sums;
  if (active) {
    const int64_t channel = (block.plane + plane) % params.result_channels;
    sums.start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
    const T* taps = weight + channel * kTaps;
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      sums.taps[tap / kWidth][tap % kWidth] =
          to_accumulate(taps[params.flipped ? kTaps - 1 - tap : tap]);
    }
  }

  unsigned char* const results = shared + plan.result_offset;
  const int64_t result_row = (block.plane * params.h.result_size + block.row);
  const CopyPieces result_pieces = row_pieces<T>(
      result + result_row * params.w.result_size + block.column, params.w.result_size,
      block.planes * block.rows, block.columns, plan.whole_rows, results, plan.result_pitch);

  finish_load(barrier);
  if (active) {
    // Row and column of the source where the thread's first window begins.
    int y = (block.row + row) * kStride - static_cast<int>(params.h.padding);
    const int x = (block.column + column) * kStride - static_cast<int>(params.w.padding);
    const int width = static_cast<int>(params.w.source_size);
    constexpr int kReach = (kVec - 1) * kStride + kWidth;
    Window window;
    window.set_mask(x, width);
    const bool touches = x > -kReach && x < width;  // else all is masked, and not to be read
    const int source_plane_offset =
        static_cast<int>((block.plane + plane) / multiplier - source_plane) * plane_rows;
    int offset = static_cast<int>(source_pieces.shared - shared) +
                 (source_plane_offset + y - block.source_row_begin) * plan.source_pitch +
                 (touches ? x - block.source_column_begin : 0) * kElement;
    unsigned char* to =
        result_pieces.shared + (plane * block.rows + row) * plan.result_pitch + column * kElement;
    const int count = block.columns - column;
    sums.reset();
    for (int step = 1 - Sums::kRows; step < rows; ++step) {
      const auto slide = [&](auto phase) {
        constexpr int kPhase = decltype(phase)::value;
        if (y >= block.source_row_begin && y < block.source_row_end) {
          window.load(shared, offset);
          sums.template add<kPhase>(window.values);
        } else {
          sums.template skip<kPhase>();
        }
        ++y;
        offset += plan.source_pitch;
      };
      slide(std::integral_constant<int, 0>{});
      if constexpr (kStride == 2) {
        slide(std::integral_constant<int, 1>{});
      }
      if (step >= 0) {
        float values[kVec];
        with_activation(activation, [&](auto kind) {
#pragma unroll
          for (int i = 0; i < kVec; ++i) {
            values[i] = decltype(kind)::forward(sums.ended()[i]);
          }
        });
        store_results<T>(to, values, count);
        to += plan.result_pitch;
      }
    }
  }
  store_pieces<T>(result_pieces);
}

}  // namespace kernelopt
