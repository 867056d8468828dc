// A copy of 16-bit rows that start between two words, so that asynchronous copies, which take whole
// words, can read them. Includes no torch header.
#pragma once

#include "common/cuda.cuh"
#include "conv1d/conv1d_problem.h"

namespace kernelopt {

constexpr int kAlignThreads = 256;
constexpr int kAlignItems = 4;  // pairs a thread

/// destination[row, i] = source[n, c, i], row = n * channels + c; blocks run over chunks of a row,
/// then over rows. Rows of the destination are `pitch` elements apart, an even number.
template <typename T>
__global__ void __launch_bounds__(kAlignThreads)
    align_rows_kernel(const T* __restrict__ source, T* __restrict__ destination, Strides1d strides,
                      int64_t channels, int64_t length, int64_t pitch, uint32_t chunks) {
  const int64_t row = blockIdx.x / chunks;
  const int64_t first =
      int64_t{blockIdx.x % chunks} * (kAlignThreads * kAlignItems * 2) + threadIdx.x * 2;
  const T* const from = source + row / channels * strides.batch + row % channels * strides.channel;
  T* const to = destination + row * pitch;
  Vec<T, 2> pairs[kAlignItems];
#pragma unroll
  for (int item = 0; item < kAlignItems; ++item) {
    const int64_t i = first + item * kAlignThreads * 2;
    pairs[item].values[0] = i < length ? from[i] : from_accumulate<T>(0.0f);
    pairs[item].values[1] = i + 1 < length ? from[i + 1] : from_accumulate<T>(0.0f);
  }
#pragma unroll
  for (int item = 0; item < kAlignItems; ++item) {
    const int64_t i = first + item * kAlignThreads * 2;
    if (i < length) {
      *reinterpret_cast<Vec<T, 2>*>(to + i) = pairs[item];
    }
  }
}

}  // namespace kernelopt
