// The second stage of the tensor-core weight gradient: adds the shares in order, and computes
// anew, in plain fp32, what is not finite. Of such sums the tensor cores' value can be wrong: Inf
// times a part of the split that is 0 is NaN, and so is Inf times the zeros that fill up a step
// beyond a row's end. A block owns 32 gradient elements; a warp adds every eighth share of them.
#pragma once

#include "common/cuda.cuh"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

constexpr int kGradientSumThreads = 256;
constexpr int kGradientSumElements = 32;

/// One gradient element in fp32 fused multiply-adds, by a whole block; valid in thread 0.
template <typename T>
__device__ __noinline__ float correlate_whole_rows(const Conv1dWeightGradientProblem& problem,
                                                   int64_t element, float* warp_sums) {
  const int64_t tap = element % problem.kernel_size;
  element /= problem.kernel_size;
  const int64_t channel = element % problem.shifted_channels;
  const int64_t row = element / problem.shifted_channels;
  const int64_t group = row / problem.steady_channels;
  const int64_t shift = tap * problem.dilation - problem.padding;
  const T* steady = static_cast<const T*>(problem.steady) + row * problem.steady_strides.channel;
  const T* shifted = static_cast<const T*>(problem.shifted) +
                     (group * problem.shifted_channels + channel) * problem.shifted_strides.channel;
  float sum = 0;
  for (int64_t n = 0; n < problem.batch; ++n) {
    for (int64_t i = threadIdx.x; i < problem.steady_length; i += kGradientSumThreads) {
      const int64_t position = i * problem.stride + shift;
      if (position >= 0 && position < problem.shifted_length) {
        sum = fmaf(to_accumulate(steady[i * problem.steady_strides.length]),
                   to_accumulate(shifted[position * problem.shifted_strides.length]), sum);
      }
    }
    steady += problem.steady_strides.batch;
    shifted += problem.shifted_strides.batch;
    if (__syncthreads_or(isnan(sum))) {
      sum = __int_as_float(0x7fffffff);  // NaN for good
      break;
    }
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, lanes);
  }
  if (threadIdx.x % 32 == 0) {
    warp_sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  sum = 0;
  for (int warp = 0; warp < kGradientSumThreads / 32; ++warp) {
    sum += warp_sums[warp];
  }
  __syncthreads();
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kGradientSumThreads)
    weight_gradient_sum_kernel(const __grid_constant__ Conv1dWeightGradientProblem problem,
                               const float* __restrict__ partial,  // [shares, numel]
                               T* __restrict__ gradient,           // [numel]
                               int64_t shares) {
  constexpr int kWarps = kGradientSumThreads / 32;
  __shared__ float sums[kWarps][kGradientSumElements];
  __shared__ unsigned not_finite;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t numel = problem.numel();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kGradientSumElements;
  const int64_t element = first + lane;
  float sum = 0;
  if (element < numel) {
#pragma unroll 4
    for (int64_t share = warp; share < shares; share += kWarps) {
      sum += partial[share * numel + element];
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp == 0) {
#pragma unroll
    for (int other = 1; other < kWarps; ++other) {
      sum += sums[other][lane];
    }
    if (element < numel) {
      gradient[element] = from_accumulate<T>(sum);
    }
    const unsigned flags = __ballot_sync(0xffffffffu, !isfinite(sum));
    if (lane == 0) {
      not_finite = flags;
    }
  }
  __syncthreads();
  for (unsigned flags = not_finite; flags != 0; flags &= flags - 1) {
    const int64_t bad = first + __ffs(static_cast<int>(flags)) - 1;
    const float exact = correlate_whole_rows<T>(problem, bad, sums[0]);
    if (threadIdx.x == 0) {
      gradient[bad] = from_accumulate<T>(exact);
    }
  }
}

}  // namespace kernelopt
