// result[i] = sum over s of partial[s, i], s in order: the second stage of a reduction that was cut
// in shares, bitwise repeatable. A thread owns one i; neighbours read neighbouring elements.
#pragma once

#include "common/cuda.cuh"

namespace kernelopt {

constexpr int kShareSumThreads = 256;

template <typename T, typename A>
__global__ void __launch_bounds__(kShareSumThreads)
    share_sum_kernel(const A* __restrict__ partial,  // [shares, count]
                     T* __restrict__ result,         // [count]
                     int64_t shares, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kShareSumThreads + threadIdx.x;
  if (i >= count) {
    return;
  }
  A sum = 0;
#pragma unroll 4
  for (int64_t share = 0; share < shares; ++share) {
    sum += partial[share * count + i];
  }
  result[i] = from_accumulate<T>(sum);
}

}  // namespace kernelopt
