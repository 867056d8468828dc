// The second stage of the tensor-core weight gradient: adds the shares in order, and computes
// anew, in plain fp32, what is not finite. Of such sums the tensor cores' value can be wrong: Inf
// times a part of the split that is 0 is NaN, and so is Inf times the zeros that fill up a step
// beyond a row's end. A thread adds kVector neighbouring elements of every share, or of many shares
// every `splits`-th one; so many warps have the same elements. Shares have the gradient's order, or
// all elements of one tap after the other.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

constexpr int kGradientSumThreads = 256;
constexpr int kGradientSumWarps = kGradientSumThreads / 32;

/// Warps that share the sums of the same elements: four shares each, that one reads at once.
constexpr int gradient_sum_splits(int64_t shares) {
  return shares <= 4 ? 1 : shares <= 8 ? 2 : shares <= 16 ? 4 : kGradientSumWarps;
}
/// Elements of a block.
constexpr int gradient_sum_elements(int splits, int vector) {
  return kGradientSumThreads / splits * vector;
}
/// Whether vectors of four leave blocks enough.
constexpr bool gradient_sum_has_vectors(int64_t numel, int splits) {
  return numel % 4 == 0 && numel / gradient_sum_elements(splits, 4) >= 256;
}

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

template <typename T, int kVector, bool kTapsFirst = false>
__global__ void __launch_bounds__(kGradientSumThreads)
    weight_gradient_sum_kernel(const __grid_constant__ Conv1dWeightGradientProblem problem,
                               const float* __restrict__ partial,  // [shares, numel], or
                                                                   // [shares, taps, numel / taps]
                               T* __restrict__ gradient,           // [numel]
                               int64_t shares, int splits) {
  __shared__ Vec<float, kVector> sums[kGradientSumWarps][32];
  __shared__ float warp_sums[kGradientSumWarps];
  __shared__ unsigned not_finite[kGradientSumWarps][kVector];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int split = warp % splits;
  const int64_t numel = problem.numel();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * gradient_sum_elements(splits, kVector);
  const int64_t element = first + (warp / splits * 32 + lane) * kVector;
  static_assert(!kTapsFirst || kVector == 1, "neighbouring elements lie apart");
  const int64_t taps = problem.kernel_size;
  const int64_t place = kTapsFirst ? element % taps * (numel / taps) + element / taps : element;
  Vec<float, kVector> sum{};
  grid_dependency_wait();
  if (element < numel) {
#pragma unroll 4
    for (int64_t share = split; share < shares; share += splits) {
      const auto values =
          *reinterpret_cast<const Vec<float, kVector>*>(partial + share * numel + place);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        sum.values[i] += values.values[i];
      }
    }
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (split == 0) {
    Vec<T, kVector> results;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      for (int other = 1; other < splits; ++other) {
        sum.values[i] += sums[warp + other][lane].values[i];
      }
      results.values[i] = from_accumulate<T>(sum.values[i]);
      const unsigned flags = __ballot_sync(0xffffffffu, !isfinite(sum.values[i]));
      if (lane == 0) {
        not_finite[warp / splits][i] = flags;
      }
    }
    if (element < numel) {
      *reinterpret_cast<Vec<T, kVector>*>(gradient + element) = results;
    }
  }
  __syncthreads();
  for (int group = 0; group < kGradientSumWarps / splits; ++group) {
    for (int i = 0; i < kVector; ++i) {
      for (unsigned flags = not_finite[group][i]; flags != 0; flags &= flags - 1) {
        const int64_t bad = first + (group * 32 + __ffs(static_cast<int>(flags)) - 1) * kVector + i;
        const float exact = correlate_whole_rows<T>(problem, bad, warp_sums);
        if (threadIdx.x == 0) {
          gradient[bad] = from_accumulate<T>(exact);
        }
      }
    }
  }
}

}  // namespace kernelopt
