// The walk of the kernels that slide down rows. Includes no torch header.
#pragma once

#include "separable/separable_wgmma_load.cuh"

namespace kernelopt {

#if KERNELOPT_HAS_WGMMA

/// The rows of a block, one after the other through the images: those of an image are a segment.
/// Params have the problem, tiles_x and groups of rows.
struct SeparableRowsCursor {
  int n, y;  // of the next row
  int64_t row, end;

  template <typename Params>
  __device__ __forceinline__ explicit SeparableRowsCursor(const Params& p) {
    const int height = p.problem.h.output_size;
    const int64_t rows = static_cast<int64_t>(p.problem.batch) * height;
    const int group = blockIdx.x / p.tiles_x;
    row = rows * group / p.groups;
    end = rows * (group + 1) / p.groups;
    n = static_cast<int>(row / height);
    y = static_cast<int>(row - static_cast<int64_t>(n) * height);
  }
  __device__ __forceinline__ bool inside() const { return row < end; }
  /// Rows from here to the segment's end.
  template <typename Params>
  __device__ __forceinline__ int segment(const Params& p) const {
    return static_cast<int>(min(end - row, static_cast<int64_t>(p.problem.h.output_size - y)));
  }
  template <typename Params>
  __device__ __forceinline__ void advance(const Params& p, int rows) {
    row += rows;
    y += rows;
    if (y == p.problem.h.output_size) {
      y = 0;
      ++n;
    }
  }
};

/// A warp's arrival at its operand's barrier, and its step to the next of `count` operands.
/// @param barriers  of the operands
__device__ __forceinline__ void pass_operand(RingPlace& operand, uint32_t barriers, int count) {
  if (threadIdx.x % 32 == 0) {
    mbarrier_arrive(barriers + operand.index * 8);
  }
  operand.advance(1, count);
}

#endif

}  // namespace kernelopt
