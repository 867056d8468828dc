// Which one-dimensional convolutions ATen's operators compute faster than the kernels here. Asked a
// call, in a few comparisons. Figures: milliseconds on an H100, torch 2.11, CUDA 13.0; elsewhere
// the kernels serve. Pointers and strides are not read. Includes no torch header.
#pragma once

#include "conv1d/conv1d_problem.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// @param element_bytes  2 or 4
inline bool aten_is_faster(const Conv1dProblem& problem, int element_bytes,
                           int compute_capability) {
  if (compute_capability != 90 || problem.transposed) {
    return false;
  }
  // Long filters of one channel: 128x1x3200 -> 80, k251: 1.23, ATen 1.03 (float32, bfloat16 1.05).
  if (problem.in_channels == 1) {
    return problem.out_channels >= 8 && problem.kernel_size >= 128;
  }
  // Too few channels for the tensor cores here, in float32: 256x4x600 -> 300, k19: 0.49, ATen 0.40
  // (bfloat16 0.48, ATen 0.50).
  return element_bytes == 4 && problem.in_channels < 8 &&
         problem.in_channels * problem.kernel_size >= 64 && problem.out_channels >= 256 &&
         problem.batch * problem.out_length >= 1 << 14;
}

inline bool aten_is_faster(const Conv1dWeightGradientProblem& problem, int /*element_bytes*/,
                           int compute_capability) {
  // Many channels, float32 / bfloat16: 64x512x801 -> 512, k5: 2.72 / 1.01, ATen 1.01 / 0.30;
  // 16x1024x803 -> 256, k1: 0.17 / 0.11, ATen 0.077 / 0.066; 32x256x400 -> 512, k1: 0.069 / 0.046,
  // ATen 0.038 / 0.030; 16x512x15999 -> 512, k3 s2: 3.87 / 1.47, ATen 1.74 / 0.68.
  const int64_t least = problem.steady_channels < problem.shifted_channels
                            ? problem.steady_channels
                            : problem.shifted_channels;
  return compute_capability == 90 && least >= 256 &&
         problem.steady_channels + problem.shifted_channels - least >= 512;
}

}  // namespace kernelopt
