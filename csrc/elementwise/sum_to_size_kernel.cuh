// result[k] = scale * sum over r of source[k, r]: k runs over the kept dimensions, r over the
// reduced. rows:    reduced elements are neighbours in memory; a block sums one kept element's
// share. columns: kept elements are neighbours; a thread sums one kept element's share. The reduced
// range is cut in gridDim.y shares; with more than one, `partial` receives [share][k] in the
// accumulate type and a second launch of `columns` adds the shares in order: no atomics, so the
// same bits every time.
#pragma once

#include "common/cuda.cuh"
#include "elementwise/elementwise_policy.h"
#include "elementwise/iteration.h"

namespace kernelopt {

struct SumShare {
  int64_t begin;
  int64_t end;
};

__device__ __forceinline__ SumShare sum_share(int64_t reduced) {
  const int64_t length = (reduced + gridDim.y - 1) / gridDim.y;
  const int64_t begin = blockIdx.y * length;
  return {begin, begin + length < reduced ? begin + length : reduced};
}

/// A reduced element and the way to the one `step` further: no division between elements where
/// there are two dimensions at most, as in the sum over batch and length of a convolution's bias
/// gradient.
class ReducedCursor {
 public:
  __device__ ReducedCursor(const Iteration<1>& space, int64_t start, int64_t step)
      : space_(space), linear_(start), step_(step), size_(space.dims > 1 ? space.sizes[0] : 0) {
    inner_ = size_ > 0 ? start % size_ : start;
    outer_ = size_ > 0 ? start / size_ : 0;
    inner_step_ = size_ > 0 ? step % size_ : step;
    outer_step_ = size_ > 0 ? step / size_ : 0;
  }

  __device__ __forceinline__ int64_t offset() const {
    if (space_.dims > 2) {
      int64_t offset[1];
      space_.offsets(linear_, offset);
      return offset[0];
    }
    return inner_ * space_.strides[0][0] + outer_ * space_.strides[0][1];
  }

  __device__ __forceinline__ void advance() {
    linear_ += step_;
    inner_ += inner_step_;
    outer_ += outer_step_;
    if (size_ > 0 && inner_ >= size_) {
      inner_ -= size_;
      ++outer_;
    }
  }

 private:
  const Iteration<1>& space_;
  int64_t linear_, step_, size_, inner_, outer_, inner_step_, outer_step_;
};

/// The same for one dimension, as in a sum over rows or over columns of a matrix.
class ReducedLine {
 public:
  __device__ ReducedLine(const Iteration<1>& space, int64_t start, int64_t step)
      : offset_(start * space.strides[0][0]), step_(step * space.strides[0][0]) {}
  __device__ __forceinline__ int64_t offset() const { return offset_; }
  __device__ __forceinline__ void advance() { offset_ += step_; }

 private:
  int64_t offset_, step_;
};

/// The sum of source[r] over r = begin, begin + step, ... below end; `reduced` counts vectors.
template <typename A, int kVec, typename Cursor, typename Source>
__device__ __forceinline__ A sum_along(const Source* source, const Iteration<1>& reduced,
                                       int64_t begin, int64_t end, int64_t step) {
  constexpr int kUnroll = SumPolicy::kUnroll;
  A sums[kUnroll] = {};
  Cursor cursor(reduced, begin, step);
  for (int64_t r = begin; r < end; r += kUnroll * step) {
    Vec<Source, kVec> loaded[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (r + u * step < end) {
        loaded[u] = *reinterpret_cast<const Vec<Source, kVec>*>(source + cursor.offset());
      }
      cursor.advance();
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (r + u * step < end) {
#pragma unroll
        for (int lane = 0; lane < kVec; ++lane) {
          sums[u] += to_accumulate(loaded[u].values[lane]);
        }
      }
    }
  }
#pragma unroll
  for (int u = 1; u < kUnroll; ++u) {
    sums[0] += sums[u];
  }
  return sums[0];
}

template <typename A, int kVec, typename Source>
__device__ __forceinline__ A sum_strided(const Source* source, const Iteration<1>& reduced,
                                         int64_t begin, int64_t end, int64_t step) {
  return reduced.dims == 1 ? sum_along<A, kVec, ReducedLine>(source, reduced, begin, end, step)
                           : sum_along<A, kVec, ReducedCursor>(source, reduced, begin, end, step);
}

/// Source is T for the first stage, the accumulate type for the second.
template <typename Source, typename Result, typename A>
__global__ void __launch_bounds__(SumPolicy::kThreads)
    sum_columns_kernel(const Source* __restrict__ source, Result* __restrict__ result, A scale,
                       const __grid_constant__ Iteration<1> kept,
                       const __grid_constant__ Iteration<1> reduced) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * SumPolicy::kThreads + threadIdx.x;
  if (k >= kept.numel) {
    return;
  }
  int64_t base[1];
  kept.offsets(k, base);
  const SumShare share = sum_share(reduced.numel);
  const A sum = sum_strided<A, 1>(source + base[0], reduced, share.begin, share.end, 1);
  result[blockIdx.y * kept.numel + k] = from_accumulate<Result>(scale * sum);
}

template <typename Source, typename Result, typename A, int kVec>
__global__ void __launch_bounds__(SumPolicy::kThreads)
    sum_rows_kernel(const Source* __restrict__ source, Result* __restrict__ result, A scale,
                    const __grid_constant__ Iteration<1> kept,
                    const __grid_constant__ Iteration<1> reduced) {
  constexpr int kWarps = SumPolicy::kThreads / 32;
  __shared__ A warp_sums[kWarps];
  const int64_t k = blockIdx.x;
  int64_t base[1];
  kept.offsets(k, base);
  const SumShare share = sum_share(reduced.numel);
  A sum = sum_strided<A, kVec>(source + base[0], reduced, share.begin + threadIdx.x, share.end,
                               SumPolicy::kThreads);
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, lanes);
  }
  if (threadIdx.x % 32 == 0) {
    warp_sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    sum = warp_sums[0];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) {
      sum += warp_sums[warp];
    }
    result[blockIdx.y * kept.numel + k] = from_accumulate<Result>(scale * sum);
  }
}

}  // namespace kernelopt
