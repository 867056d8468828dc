// result[i] = sum over s of partial[s, i]: the second stage of a reduction that was cut in shares,
// bitwise repeatable. kShareSumParts threads own one i and add every kShareSumParts-th share each,
// s in order; then their sums add up in order. Neighbours read neighbouring elements.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"

namespace kernelopt {

// The loads of one thread for all shares come in turns: 26 shares of 1800 sums took 5.7 us, in
// eight parts 3.9 (H100).
constexpr int kShareSumParts = 8;
constexpr int kShareSumColumns = 32;  // of a block

template <typename T, typename A>
__global__ void __launch_bounds__(kShareSumParts* kShareSumColumns)
    share_sum_kernel(const A* __restrict__ partial,  // [shares, count]
                     T* __restrict__ result,         // [count]
                     int64_t shares, int64_t count) {
  __shared__ A sums[kShareSumParts][kShareSumColumns];
  const int column = threadIdx.x % kShareSumColumns, part = threadIdx.x / kShareSumColumns;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kShareSumColumns + column;
  A sum = 0;
  grid_dependency_wait();
  if (i < count) {
#pragma unroll 4
    for (int64_t share = part; share < shares; share += kShareSumParts) {
      sum += partial[share * count + i];
    }
  }
  sums[part][column] = sum;
  __syncthreads();
  if (part == 0 && i < count) {
#pragma unroll
    for (int other = 1; other < kShareSumParts; ++other) {
      sum += sums[other][column];
    }
    result[i] = from_accumulate<T>(sum);
  }
}

}  // namespace kernelopt
