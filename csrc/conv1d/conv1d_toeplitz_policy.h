// Which convolutions the Toeplitz kernel serves, and with which tile. Includes no torch header.
#pragma once

#include "conv1d/conv1d_mma_policy.h"
#include "conv1d/conv1d_policy.h"

namespace kernelopt {

struct Conv1dToeplitzPolicy {
  // Input channels of a group; from more on the kernels whose products run over channels are
  // faster.
  static constexpr int64_t kMaxChannels = 7;
  // Output channels of a group, below which most of a fragment would be zeros; fewer only for long
  // sums from several channels: 16x1024x128 -> 1024, k41 s4, 256 groups took 0.030 / 0.049 ms in
  // bfloat16 / float32, with the direct kernel 0.070 / 0.074.
  static constexpr int64_t kMinOutChannels = 8, kMinFewOutChannels = 4, kMinFewReduction = 64;
  // Products an output: fewer fill not half of a step, and pay only where the problem is large:
  // 32x3x1024 -> 64, k1 took 0.0076 / 0.0085 ms, with the direct kernel 0.019 / 0.020; 1x3x4097 ->
  // 64, k1 0.0088 / 0.0068, there 0.0054.
  static constexpr int64_t kMinReduction = 8;
  static constexpr double kMinShortProducts = 1 << 22;
  // Taps of a single channel at strides 1 and 2, where the sliding kernel is the other choice:
  // 8x1x16757 -> 64, k7 took 0.023 / 0.027 ms in bfloat16 / float32, there 0.017 / 0.022; 16x1x8192
  // -> 128, k15 0.021 / 0.031, there 0.035 / 0.047.
  static constexpr int64_t kMinSlidingTaps = 12;
  // Windows of larger strides leave no room for several blocks: 16x1x160000 -> 257, k401 s160 took
  // 0.16 / 0.84 ms in bfloat16 / float32, on CUDA cores 0.24 / 0.29.
  static constexpr int64_t kMaxStride = 16;
  // Products of the whole problem: 1x4x600 -> 300, k19 took 0.0086 ms in float32, on CUDA cores
  // 0.0107; 1x4x1000 -> 320, k8, which has fewer, 0.0088 and 0.0081.
  static constexpr double kMinProducts = 3 << 22;
  // Items of a warp, below which single tiles of channels share the work more evenly than pairs.
  static constexpr int64_t kMinPairs = 1 << 11;
};

/// Whether the kernel serves a problem of operands that the tensor cores take.
inline bool toeplitz_serves(const Conv1dProblem& problem) {
  using Policy = Conv1dToeplitzPolicy;
  const double products = static_cast<double>(problem.batch) * problem.groups *
                          problem.out_channels * problem.in_channels * problem.out_length *
                          problem.kernel_size;
  const int64_t reduction = problem.in_channels * problem.kernel_size;
  const bool few_outputs = problem.in_channels > 1 && reduction >= Policy::kMinFewReduction;
  const int64_t min_out_channels =
      few_outputs ? Policy::kMinFewOutChannels : Policy::kMinOutChannels;
  const double min_products =
      reduction >= Policy::kMinReduction ? Policy::kMinProducts : Policy::kMinShortProducts;
  return !problem.transposed && problem.output_strides.length == 1 && fits_32_bits(problem) &&
         problem.batch <= CorrelationLimits::kMaxBatch &&
         problem.in_channels <= Policy::kMaxChannels && reduction > 1 &&
         (problem.in_channels > 1 || problem.stride > 2 ||
          problem.kernel_size >= Policy::kMinSlidingTaps) &&
         problem.out_channels >= min_out_channels && problem.stride <= Policy::kMaxStride &&
         products >= min_products;
}

/// Whether neighbouring positions may share the words of a window: at stride and dilation 1, where
/// taps in whole steps for every channel make no more steps.
inline bool toeplitz_shares_words(const Conv1dProblem& problem) {
  const int64_t pairs = problem.in_channels * divide_up(problem.kernel_size, 2);
  return problem.stride == 1 && problem.dilation == 1 &&
         problem.in_channels * divide_up(problem.kernel_size, 16) <= divide_up(pairs, 8);
}

/// Whether a warp takes two tiles of 16 output channels in 16 bit, which halves its loads of
/// windows, where that leaves few of them empty. In float32 it has no registers for it.
inline bool toeplitz_pairs_tiles(const Conv1dProblem& problem) {
  const int64_t tiles = divide_up(problem.out_channels, 16);
  const double pairs = static_cast<double>(problem.batch) * problem.groups *
                       divide_up(problem.out_length, 64) * divide_up(tiles, 2);
  return (tiles % 2 == 0 || tiles >= 8) && pairs >= Conv1dToeplitzPolicy::kMinPairs;
}

}  // namespace kernelopt
