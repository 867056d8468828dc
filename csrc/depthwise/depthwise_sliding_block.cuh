// What a block of a sliding kernel works on at a time, where it lies in memory, and what of it a
// thread owns.
#pragma once

#include "common/single_piece_copy.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_sliding_plan.h"

namespace kernelopt {

/// a / b where b is often 1.
__device__ __forceinline__ int divide(int a, int b) {
  return b == 1 ? a : static_cast<int>(static_cast<unsigned>(a) / static_cast<unsigned>(b));
}

/// The same where there may be an inverse of b, see divisor_inverse(), else 0.
__device__ __forceinline__ int divide(int a, int b, uint32_t inverse) {
  return inverse != 0 ? static_cast<int>(__umulhi(a, inverse)) : divide(a, b);
}

/// Result planes, rows and columns, and of the source what they need: [begin, end) of rows and
/// columns of its planes.
struct SlidingBlock {
  int plane, planes;
  int row, rows;
  int column, columns;
  int source_plane, source_planes;
  int source_row_begin, source_row_end;
  int source_column_begin, source_column_end;

  /// @param strip, tile  which of the plan's of these planes
  __device__ __forceinline__ SlidingBlock(const DepthwiseAxis& h, const DepthwiseAxis& w,
                                          const SlidingPlan& plan, int multiplier, int first_plane,
                                          int plane_count, int strip, int tile)
      : plane(first_plane), planes(plane_count) {
    row = strip * plan.rows;
    rows = min(plan.rows, static_cast<int>(h.result_size) - row);
    column = tile * plan.columns;
    columns = min(plan.columns, static_cast<int>(w.result_size) - column);
    source_plane = divide(plane, multiplier);
    source_planes = divide(plane + planes - 1, multiplier) - source_plane + 1;
    source_row_begin = source_column_begin = 0;
    source_row_end = static_cast<int>(h.source_size);
    source_column_end = static_cast<int>(w.source_size);
    if (plan.planes == 1) {
      limit(h, row, rows, source_row_begin, source_row_end);
    }
    if (!plan.whole_rows) {
      limit(w, column, columns, source_column_begin, source_column_end);
    }
  }

  /// What a thread block, this one, owns of a correlation.
  /// @param strips_inverse  of the plan's, see divisor_inverse(), or 0
  static __device__ __forceinline__ SlidingBlock of_correlation(const DepthwiseParams& params,
                                                                const SlidingPlan& plan,
                                                                unsigned index = blockIdx.x,
                                                                uint32_t strips_inverse = 0) {
    const int strip_index = divide(static_cast<int>(index), plan.tiles);
    const int group = divide(strip_index, plan.strips, strips_inverse);
    const int planes_left =
        static_cast<int>(params.batch * params.result_channels) - group * plan.planes;
    return SlidingBlock(params.h, params.w, plan, static_cast<int>(params.multiplier),
                        group * plan.planes, min(plan.planes, planes_left),
                        strip_index - group * plan.strips,
                        static_cast<int>(index) - strip_index * plan.tiles);
  }

  __device__ __forceinline__ int source_plane_rows() const {
    return source_row_end - source_row_begin;
  }

  template <typename T>
  __device__ __forceinline__ CopyPieces source_pieces(const T* source, const DepthwiseAxis& h,
                                                      const DepthwiseAxis& w,
                                                      const SlidingPlan& plan,
                                                      unsigned char* shared) const {
    const int64_t first_row = int64_t{source_plane} * h.source_size + source_row_begin;
    return pieces(source + first_row * w.source_size + source_column_begin, w.source_size,
                  source_planes * source_plane_rows(), source_column_end - source_column_begin,
                  plan.whole_rows, shared + kSlidingMargin, plan.source_pitch);
  }

  template <typename T>
  __device__ __forceinline__ CopyPieces result_pieces(const T* result, const DepthwiseAxis& h,
                                                      const DepthwiseAxis& w,
                                                      const SlidingPlan& plan,
                                                      unsigned char* shared) const {
    const int64_t first_row = int64_t{plane} * h.result_size + row;
    return pieces(result + first_row * w.result_size + column, w.result_size, planes * rows,
                  columns, plan.whole_rows, shared + plan.result_offset, plan.result_pitch);
  }

  /// Starts loading a correlation's source into `shared`, once the kernel in front has ended; the
  /// barrier is set up here.
  template <typename T>
  __device__ __forceinline__ CopyPieces start_source_load(const T* source,
                                                          const DepthwiseParams& params,
                                                          const SlidingPlan& plan,
                                                          unsigned char* shared,
                                                          uint64_t* barrier) const {
    return start_source_load(
        source, params, plan, shared, barrier,
        params.batch * params.source_channels * params.h.source_size * params.w.source_size);
  }

  /// @param elements  of the source
  template <typename T>
  __device__ __forceinline__ CopyPieces start_source_load(const T* source,
                                                          const DepthwiseParams& params,
                                                          const SlidingPlan& plan,
                                                          unsigned char* shared, uint64_t* barrier,
                                                          int64_t elements) const {
    const CopyPieces loaded = source_pieces(source, params.h, params.w, plan, shared);
    start_only_load<T>(loaded, reinterpret_cast<const char*>(source),
                       reinterpret_cast<const char*>(source + elements), barrier);
    return loaded;
  }

 private:
  /// [begin, end) of an axis of the source: what `count` results from `first` on read.
  static __device__ __forceinline__ void limit(const DepthwiseAxis& axis, int first, int count,
                                               int& begin, int& end) {
    const int size = static_cast<int>(axis.source_size);
    const int stride = static_cast<int>(axis.stride);
    const int low = first * stride - static_cast<int>(axis.padding);
    const int high = low + (count - 1) * stride + static_cast<int>(axis.kernel_size);
    begin = min(max(low, 0), size);
    end = min(max(high, 0), size);
  }

  /// `rows` rows of `columns` elements: one piece where rows are whole, else one a row.
  template <typename T>
  static __device__ __forceinline__ CopyPieces pieces(const T* global, int64_t row_length, int rows,
                                                      int columns, bool whole_rows,
                                                      unsigned char* shared, int pitch) {
    CopyPieces result;
    result.global = reinterpret_cast<char*>(const_cast<T*>(global));
    result.global_pitch = row_length * static_cast<int>(sizeof(T));
    result.shared = shared + place_in_area(global);
    result.shared_pitch = pitch;
    result.bytes = (whole_rows ? rows : 1) * columns * static_cast<int>(sizeof(T));
    result.count = result.bytes == 0 ? 0 : whole_rows ? 1 : rows;
    return result;
  }
};

/// A thread's place in a block: a plane, a group of rows, a vector of columns.
struct SlidingThread {
  int plane;
  int row;
  int column;

  __device__ __forceinline__ SlidingThread(const SlidingPlan& plan, int vec) {
    const int thread = static_cast<int>(threadIdx.x);
    const int rest = thread * plan.threads_per_row_inverse >> 16;
    column = (thread - rest * plan.threads_per_row) * vec;
    plane = divide(rest, plan.row_groups);
    row = (rest - plane * plan.row_groups) * plan.rows_per_thread;
  }
};

/// Where a thread's window slides: down from row y and column x of the source.
struct SlidingStart {
  int y;
  int x;
  int offset;  // of (y, x) in shared memory

  /// @param reach   columns of the window; one that misses the image is put where reading is safe
  /// @param pieces  the block's source
  __device__ __forceinline__ SlidingStart(const SlidingBlock& block, const SlidingThread& thread,
                                          const DepthwiseAxis& h, const DepthwiseAxis& w,
                                          const SlidingPlan& plan, int multiplier, int reach,
                                          int element_bytes, const CopyPieces& pieces,
                                          const unsigned char* shared) {
    y = (block.row + thread.row) * static_cast<int>(h.stride) - static_cast<int>(h.padding);
    x = (block.column + thread.column) * static_cast<int>(w.stride) - static_cast<int>(w.padding);
    const bool touches = x > -reach && x < static_cast<int>(w.source_size);
    const int plane = divide(block.plane + thread.plane, multiplier) - block.source_plane;
    const int row = plane * block.source_plane_rows() + y - block.source_row_begin;
    offset = static_cast<int>(pieces.shared - shared) + row * plan.source_pitch +
             (touches ? x - block.source_column_begin : 0) * element_bytes;
  }
};

}  // namespace kernelopt
