// One output of a convolution in plain fp32. Includes no torch header.
#pragma once

#include "common/cuda.cuh"
#include "conv1d/conv1d_problem.h"

namespace kernelopt {

/// The sum without bias and activation at output position `position` of channel `o` of a group. For
/// results that a split in parts made NaN or Inf: Inf times a part that is 0 is NaN, and the
/// product of two rounded high parts can overflow where that of the values does not. For problems
/// within 32-bit positions.
template <typename T>
__device__ __forceinline__ float convolve_exactly(const Conv1dProblem& problem, int n, int group,
                                                  int o, int position) {
  const int stride = static_cast<int>(problem.stride),
            dilation = static_cast<int>(problem.dilation);
  const int padding = static_cast<int>(problem.padding);
  const int taps = static_cast<int>(problem.kernel_size);
  float sum = 0;
#pragma unroll 1
  for (int tap = 0; tap < taps; ++tap) {
    int i = position * stride - padding + tap * dilation;
    if (problem.transposed) {
      const int reach = position + padding - tap * dilation;
      i = reach >= 0 && reach % stride == 0 ? reach / stride : -1;
    }
    if (i < 0 || i >= problem.in_length) {
      continue;
    }
    const T* input = static_cast<const T*>(problem.input) + n * problem.input_strides.batch +
                     group * problem.in_channels * problem.input_strides.channel +
                     i * problem.input_strides.length;
    const T* weight = static_cast<const T*>(problem.weight) +
                      group * problem.weight_group_stride() + o * problem.weight_out_stride() + tap;
#pragma unroll 1
    for (int c = 0; c < static_cast<int>(problem.in_channels); ++c) {
      sum = fmaf(to_accumulate(*weight), to_accumulate(*input), sum);
      input += problem.input_strides.channel;
      weight += problem.weight_in_stride();
    }
  }
  return sum;
}

}  // namespace kernelopt
