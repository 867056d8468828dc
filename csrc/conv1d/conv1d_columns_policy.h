// Which transposed convolutions the columns kernel serves. Includes no torch header.
#pragma once

#include "conv1d/conv1d_mma_policy.h"
#include "conv1d/conv1d_policy.h"

namespace kernelopt {

struct Conv1dColumnsPolicy {
  static constexpr int64_t kMinChannels = 16;  // half of a step
  // Elements of the product's sums, which pass through memory.
  static constexpr double kMaxSums = 1 << 28;
  // To few channels, columns of a tile and positions an input channel, beyond which the phases
  // kernel has blocks enough: 4x512x7999 -> 1, k16 s8 took 0.037 / 0.029 ms in float32 / bfloat16,
  // there 0.235 / 0.216; 64x48x15956 -> 1, k8 s4 0.176 / 0.158, there 0.145 / 0.140; 256x16x1000 ->
  // 1, k3 s2 0.029 / 0.025, there 0.019 / 0.018.
  static constexpr int64_t kMaxFewColumns = 32, kMaxFewPositions = 2048;
  // Few positions, and rows so short that taps which others gather reach beyond them: 1x1024x125 ->
  // 512, k16 s8 took 0.040 / 0.031 ms, with other kernels 0.057 / 0.044; 1x256x256 -> 128, k25 s4
  // 0.018 / 0.016, there 0.017 / 0.014.
  static constexpr int64_t kMaxPositions = 256, kMaxReach = 1024;  // in_length * taps of a residue
  // More positions, or taps that reach farther, from so many channels or without overlapping taps:
  // 1x512x256 -> 128, k31 s2 0.026 / 0.022, there 0.032 / 0.022; 64x256x8 -> 256, k4 s2 0.013 /
  // 0.013, there 0.017 / 0.014; 1x384x333 -> 192, k4 s2 0.015 / 0.014, there 0.015 / 0.015;
  // 12x128x374 -> 64, k2 s2 0.016 / 0.014, there 0.011 / 0.010. Of more products others that pack
  // the input are faster: 32x512x63 -> 256, k2 s2 0.030 / 0.026, there 0.022 / 0.017; 32x384x54 ->
  // 192, k4 s2 0.031 / 0.024, there 0.023 / 0.016; 12x256x187 -> 128, k2 s2 0.018 / 0.016, there
  // 0.015 / 0.012; 256x128x47 -> 64, k2 s2 0.025 / 0.024, there 0.015 / 0.013.
  static constexpr int64_t kMaxMorePositions = 2304, kMinManyChannels = 256;
  static constexpr int64_t kMaxOddPositions = 1 << 14;  // others copy such rows by elements
  static constexpr double kMaxProducts = 5.5e8, kMaxMoreProducts = 1 << 27;
  // Products in all, so few that others leave them to CUDA cores: 16x32x188 -> 16, k2 s2 took
  // 0.0063 / 0.0061, there 0.0094 / 0.0091.
  static constexpr double kFewProducts = 1 << 22;
};

/// kPacked: scattered, where none of the others packs the input.
enum class Conv1dColumnsForm { kNone, kPacked, kScattered, kGathered };

/// In which form the kernel serves a problem of operands that the tensor cores take. Pointers and
/// strides are not read.
inline Conv1dColumnsForm conv1d_columns_form(const Conv1dProblem& problem) {
  using Policy = Conv1dColumnsPolicy;
  const int64_t positions = problem.batch * problem.in_length;
  const int64_t columns = problem.out_channels * problem.kernel_size;
  const double sums = static_cast<double>(problem.groups) * positions * columns;
  const double outputs = static_cast<double>(problem.batch) * problem.groups *
                         problem.out_channels * problem.out_length;
  if (!problem.transposed || problem.stride == 1 || problem.dilation != 1 ||
      problem.in_channels < Policy::kMinChannels || problem.groups > 65535 ||
      !fits_32_bits(problem) || sums > Policy::kMaxSums || outputs > 4 * Policy::kMaxSums) {
    return Conv1dColumnsForm::kNone;
  }
  // More residues than the other kernels on tensor cores serve: 1x80x401 -> 80, k1024 s256 took
  // 0.17 / 0.14 ms in float32 / bfloat16, on CUDA cores 0.61 / 0.61. Scattered 0.25 / 0.23.
  if (problem.stride > CorrelationLimits::kMaxPhases) {
    if (problem.kernel_size <= problem.stride) {
      return Conv1dColumnsForm::kScattered;
    }
    const int64_t rows = problem.in_length + divide_up(problem.kernel_size, problem.stride) - 1;
    const double gathered = static_cast<double>(problem.groups) * problem.batch * rows *
                            (problem.out_channels * problem.stride);
    return gathered <= Policy::kMaxSums ? Conv1dColumnsForm::kGathered : Conv1dColumnsForm::kNone;
  }
  const bool few_columns = problem.out_channels < Conv1dPolicy::kMinGemmChannels &&
                           columns <= Policy::kMaxFewColumns &&
                           positions <= Policy::kMaxFewPositions * problem.in_channels;
  const double products = sums * static_cast<double>(problem.in_channels);
  const int64_t reach = problem.in_length * divide_up(problem.kernel_size, problem.stride);
  if (few_columns || products <= Policy::kFewProducts ||
      (positions <= Policy::kMaxPositions && reach <= Policy::kMaxReach)) {
    return Conv1dColumnsForm::kScattered;
  }
  const bool few_rows = products <= Policy::kMaxProducts &&
                        (problem.kernel_size <= problem.stride
                             ? positions <= (problem.in_length % 2 == 0 ? Policy::kMaxMorePositions
                                                                        : Policy::kMaxOddPositions)
                             : positions <= Policy::kMaxMorePositions &&
                                   problem.in_channels >= Policy::kMinManyChannels);
  return !few_rows ? Conv1dColumnsForm::kNone
         : positions > Policy::kMaxPositions && products > Policy::kMaxMoreProducts
             ? Conv1dColumnsForm::kPacked
             : Conv1dColumnsForm::kScattered;
}

}  // namespace kernelopt
