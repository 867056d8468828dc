// The shifted operand of a weight gradient with every tap of a channel as a channel of its own, so
// that what is left is the gradient of a single tap. Includes no torch header.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

constexpr int kUnfoldThreads = 128;
constexpr int kUnfoldItems = 8;  // a thread

/// destination[row, i] = shifted[n, channel, i * stride - padding + k * dilation], 0 outside,
/// row = (n * groups * shifted_channels + channel) * kernel_size + k; blocks run over chunks of a
/// row, then over rows. Rows of the destination are `pitch` elements apart.
template <typename T>
__global__ void __launch_bounds__(kUnfoldThreads)
    unfold_taps_kernel(const __grid_constant__ Conv1dWeightGradientProblem problem,
                       T* __restrict__ destination, int64_t pitch, uint32_t chunks) {
  grid_dependency_launch();
  const int64_t row = blockIdx.x / chunks;
  const int64_t first = int64_t{blockIdx.x % chunks} * (kUnfoldThreads * kUnfoldItems);
  const int64_t k = row % problem.kernel_size, channel = row / problem.kernel_size;
  const int64_t channels = problem.groups * problem.shifted_channels;
  const Strides1d& strides = problem.shifted_strides;
  const T* const from = static_cast<const T*>(problem.shifted) +
                        channel / channels * strides.batch + channel % channels * strides.channel;
  T* const to = destination + row * pitch;
  const int64_t shift = k * problem.dilation - problem.padding;
  T values[kUnfoldItems];
#pragma unroll
  for (int item = 0; item < kUnfoldItems; ++item) {
    const int64_t i = first + item * kUnfoldThreads + threadIdx.x;
    const int64_t position = i * problem.stride + shift;
    const bool inside =
        i < problem.steady_length && position >= 0 && position < problem.shifted_length;
    values[item] = inside ? from[position * strides.length] : from_accumulate<T>(0.0f);
  }
#pragma unroll
  for (int item = 0; item < kUnfoldItems; ++item) {
    const int64_t i = first + item * kUnfoldThreads + threadIdx.x;
    if (i < problem.steady_length) {
      to[i] = values[item];
    }
  }
}

}  // namespace kernelopt
