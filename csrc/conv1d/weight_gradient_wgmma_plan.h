// How a weight gradient is cut for Hopper's tensor cores. Includes no torch header.
#pragma once

#include "conv1d/conv1d_weight_gradient_mma_plan.h"
#include "conv1d/weight_gradient_wgmma_params.h"

namespace kernelopt {

struct WeightGradientWgmmaPlan {
  bool fits = false;
  int taps = 0;       // of a warpgroup
  bool half = false;  // half of the positions a step
  int shared_bytes = 0;
  int64_t shares = 0;
  int64_t blocks = 0;
  double time = 0;  // estimated: a tap's products of one step take 1
};

/// Whether this kernel is the fastest one on tensor cores, where it fits. Milliseconds on an H100,
/// float32 / bfloat16, beside mma.sync's.
inline bool weight_gradient_wgmma_pays(const Conv1dWeightGradientProblem& problem, int size) {
  // 1x768x196608 -> 768, k1: 5.2 / 2.1, 3.8 / 1.6.
  if (problem.kernel_size == 1) {
    return false;
  }
  // Half of the rows of a product are empty, and taps for both warpgroups are few: transposed
  // 16x32x131072 -> 64, k3 s2 d2: 1.30 / 0.83, 1.04 / 0.77. Not k5 d3 of 32x32x131072: 1.73 / 1.05,
  // 1.73 / 0.99.
  if (problem.steady_channels <= 32 && problem.kernel_size <= 3) {
    return false;
  }
  // Windows of several steps: 6x64x25600 -> 128, k3 d64: 0.20 / 0.061, 0.14 / 0.071.
  return size == 2 ||
         problem.dilation <= problem.stride * WeightGradientWgmmaShape::positions(size, false);
}

/// Fills in the rest of `p`. Rows start on multiples of 4 bytes.
template <typename T>
WeightGradientWgmmaPlan plan_weight_gradient_wgmma(WeightGradientWgmmaParams<T>& p,
                                                   const Conv1dWeightGradientProblem& problem,
                                                   int taps, bool half, int max_shared_bytes,
                                                   int multiprocessors) {
  using Shape = WeightGradientWgmmaShape;
  constexpr GradientLayout kLayout = GradientLayout::kRows;
  constexpr int kSize = static_cast<int>(sizeof(T));
  const int positions = Shape::positions(kSize, half);
  WeightGradientWgmmaPlan plan;
  plan.taps = taps;
  plan.half = half;
  p.row_groups = problem.steady_channels > 64 ? 2 : 1;
  const int64_t block_taps =
      std::min<int64_t>(taps * (Shape::kWarpgroups / p.row_groups), problem.kernel_size);
  const int64_t window =
      (positions - 1) * problem.stride + (block_taps - 1) * problem.dilation + 16 / kSize;
  constexpr int64_t kMaxWindow = 1 << 12;
  if (window > kMaxWindow) {
    return plan;
  }
  p.steady_copy = gradient_copy(problem.steady, problem.steady_strides, problem.steady_channels,
                                problem.steady_length, positions, kLayout, kSize);
  p.shifted_copy = gradient_copy(problem.shifted, problem.shifted_strides, problem.shifted_channels,
                                 problem.shifted_length, window, kLayout, kSize);
  p.eights = static_cast<int>(round_up(divide_up(window, 8), 2));
  p.window_pitch = static_cast<int>(round_up(p.eights * 8 * kSize, 32) + 16);
  // Eight neighbouring positions lie in different units modulo 8, as far as the stride allows.
  const int64_t residue = problem.stride == 1 ? 0 : divide_up(8, problem.stride);
  const int64_t residue_rows = divide_up(p.eights * 8, problem.stride);
  p.residue_units = static_cast<int>(residue_rows + ((residue - residue_rows) % 8 + 8) % 8);
  // 8 channels and the next 8 lie in different banks.
  p.operand_units = static_cast<int>(round_up(p.residue_units * problem.stride, 8) + 1);
  p.divide_by_stride =
      problem.stride == 1 ? 0 : static_cast<uint32_t>((int64_t{1} << 32) / problem.stride + 1);
  p.steady_bytes = p.row_groups * 64 * Shape::kRowBytes;
  p.window_bytes = Shape::kColumns * p.window_pitch;
  p.operand_bytes = Shape::kColumns / 8 * p.operand_units * 16 * (kSize / 2);

  const int fixed_bytes = Shape::kOperands * (p.operand_bytes + p.steady_bytes + 16);
  const int ahead_bytes = p.steady_bytes + p.window_bytes;
  constexpr int kMaxUnits = (1 << 14) - 1;  // of a descriptor
  p.ahead = std::min(Shape::kMaxAhead, (max_shared_bytes - fixed_bytes) / ahead_bytes);
  if (p.ahead < 1 || p.operand_units > kMaxUnits) {
    return plan;
  }
  plan.shared_bytes = fixed_bytes + p.ahead * ahead_bytes;

  p.steady_tiles = (p.steady_copy.channels - 1) / (p.row_groups * 64) + 1;
  p.shifted_tiles = (p.shifted_copy.channels - 1) / Shape::kColumns + 1;
  p.tap_chunks = (p.kernel_size - 1) / (taps * (Shape::kWarpgroups / p.row_groups)) + 1;
  p.row_steps = (p.steady_copy.length - 1) / positions + 1;
  p.steps = problem.batch * p.row_steps;
  p.flush_steps = Shape::flush_steps(kSize, positions);
  const double tiles =
      static_cast<double>(p.steady_tiles) * p.shifted_tiles * p.tap_chunks * p.groups;
  constexpr double kMaxBlocks = 1 << 30;
  if (tiles > kMaxBlocks) {
    return plan;
  }
  const double sum_time = static_cast<double>(p.numel) / Shape::kSumsPerStep;
  plan.shares = choose_gradient_shares(static_cast<int64_t>(tiles), p.steps, multiprocessors,
                                       Shape::kMinStepsPerShare, sum_time);
  p.steps_per_share = (p.steps - 1) / plan.shares + 1;
  plan.blocks = static_cast<int64_t>(tiles) * plan.shares;
  const double step =
      taps + Shape::steady_time(kSize) + Shape::window_time(kSize) * window / positions;
  constexpr double kTapsPerStep = 4;  // of a tap's products, in kSumsPerStep's steps
  plan.time = static_cast<double>(divide_up(plan.blocks, multiprocessors)) *
                  (p.steps_per_share + WeightGradientLimits::kShareOverhead) * step +
              static_cast<double>(plan.shares) * sum_time * kTapsPerStep;
  plan.fits = plan.blocks <= std::numeric_limits<int32_t>::max() &&
              p.steps_per_share <= std::numeric_limits<int32_t>::max();
  return plan;
}

/// The same with the taps and positions of a step that take the least time.
template <typename T>
WeightGradientWgmmaPlan plan_weight_gradient_wgmma(WeightGradientWgmmaParams<T>& p,
                                                   const Conv1dWeightGradientProblem& problem,
                                                   int max_shared_bytes, int multiprocessors) {
  using Shape = WeightGradientWgmmaShape;
  const auto plan_of = [&](int taps, bool half) {
    return plan_weight_gradient_wgmma(p, problem, taps, half, max_shared_bytes, multiprocessors);
  };
  WeightGradientWgmmaPlan best;
  for (int taps = std::min<int64_t>(Shape::kMaxTaps, problem.kernel_size); taps > 0; --taps) {
    const WeightGradientWgmmaPlan plan = plan_of(taps, false);
    if (plan.fits && (!best.fits || plan.time < best.time)) {
      best = plan;
    }
  }
  return best.fits ? plan_of(best.taps, false) : plan_of(Shape::kHalfTaps, true);
}

}  // namespace kernelopt
