// How a weight gradient is cut for the tensor cores: copies, shares, shared memory.
// Includes no torch header.
#pragma once

#include "conv1d/weight_gradient_fragments.cuh"

#include <algorithm>
#include <limits>

namespace kernelopt {

struct WeightGradientMmaPlan {
  bool fits = false;
  int shared_bytes = 0;
  int64_t shares = 0;  // of the grid; each writes kWarpsK partial gradients
  int64_t blocks = 0;
};

/// The layout that both operands have, as the kernels know them; false where they have none.
inline bool gradient_layout(const Conv1dWeightGradientProblem& problem, GradientLayout& layout) {
  if (problem.steady_strides.length == 1 && problem.shifted_strides.length == 1) {
    layout = problem.stride == 1 ? GradientLayout::kRows : GradientLayout::kStridedRows;
    return true;
  }
  layout = GradientLayout::kChannels;
  return problem.steady_strides.channel == 1 && problem.shifted_strides.channel == 1;
}

/// Whether every run of a tensor's memory starts on a multiple of `bytes`, of every group too.
inline bool runs_start_on(int bytes, const void* data, const Strides1d& strides,
                          int64_t group_channels, GradientLayout layout, int element_bytes) {
  const auto whole = [&](int64_t elements) { return elements * element_bytes % bytes == 0; };
  return reinterpret_cast<uintptr_t>(data) % bytes == 0 && whole(strides.batch) &&
         (layout == GradientLayout::kChannels ? whole(strides.length) && whole(group_channels)
                                              : whole(strides.channel));
}

/// @param elements  of a run of a tile
inline GradientCopy gradient_copy(const void* data, const Strides1d& strides, int64_t channels,
                                  int64_t length, int64_t elements, GradientLayout layout,
                                  int element_bytes) {
  GradientCopy copy{};
  copy.batch_stride = strides.batch;
  copy.channel_stride = strides.channel;
  copy.length_stride = strides.length;
  copy.channels = static_cast<int>(channels);
  copy.length = static_cast<int>(length);
  copy.wide = runs_start_on(16, data, strides, channels, layout, element_bytes);
  const int piece = (copy.wide ? 16 : 4) / element_bytes;
  copy.pieces = static_cast<int>((elements - 1) / piece + 1);
  copy.divide_by_pieces = static_cast<uint32_t>((int64_t{1} << 32) / copy.pieces + 1);
  return copy;
}

template <typename Params>
Params weight_gradient_params(const Conv1dWeightGradientProblem& problem) {
  using T = typename Params::Element;
  Params p{};
  p.steady = static_cast<const T*>(problem.steady);
  p.shifted = static_cast<const T*>(problem.shifted);
  p.numel = problem.numel();
  p.groups = static_cast<int>(problem.groups);
  p.kernel_size = static_cast<int>(problem.kernel_size);
  p.stride = static_cast<int>(problem.stride);
  p.padding = static_cast<int>(problem.padding);
  p.dilation = static_cast<int>(problem.dilation);
  return p;
}

/// The number of shares with which the last multiprocessor is ready first: all blocks of a wave
/// take as long as the longest share.
/// @param min_steps  of a share
/// @param sum_time   what a share more costs the sum of all, in steps
inline int64_t choose_gradient_shares(int64_t tiles, int64_t steps, int multiprocessors,
                                      int64_t min_steps = WeightGradientLimits::kMinStepsPerShare,
                                      double sum_time = 0) {
  const int64_t most = std::clamp<int64_t>(steps / min_steps, 1, multiprocessors);
  int64_t best = 1;
  double best_time = std::numeric_limits<double>::max();
  for (int64_t shares = 1; shares <= most; ++shares) {
    const int64_t waves = (tiles * shares - 1) / multiprocessors + 1;
    const double time = static_cast<double>(waves * ((steps - 1) / shares + 1 +
                                                     WeightGradientLimits::kShareOverhead)) +
                        static_cast<double>(shares) * sum_time;
    if (time < best_time) {
      best_time = time;
      best = shares;
    }
  }
  const int64_t steps_per_share = (steps - 1) / best + 1;
  return (steps - 1) / steps_per_share + 1;
}

/// Fills in the rest of `p` for a policy. Runs start on multiples of 4 bytes.
template <typename T, typename Policy>
WeightGradientMmaPlan plan_weight_gradient_mma(WeightGradientMmaParams<T>& p,
                                               const Conv1dWeightGradientProblem& problem,
                                               GradientLayout layout, int max_shared_bytes,
                                               int multiprocessors) {
  constexpr int kPositions = kGradientPositions<T>;
  constexpr int kParts = sizeof(T) == 4 ? 2 : 1;
  constexpr int kMaxPiece = 16 / static_cast<int>(sizeof(T));
  const bool channels = layout == GradientLayout::kChannels;
  WeightGradientMmaPlan plan;
  const int64_t taps = std::min<int64_t>(Policy::kTaps, problem.kernel_size);
  const int64_t window =
      (kPositions - 1) * problem.stride + (taps - 1) * problem.dilation + kMaxPiece;
  constexpr int64_t kMaxWindow = 1 << 15;
  if (!channels && window > kMaxWindow) {
    return plan;
  }
  p.steady_copy = gradient_copy(problem.steady, problem.steady_strides, problem.steady_channels,
                                problem.steady_length, channels ? Policy::kBlockSteady : kPositions,
                                layout, sizeof(T));
  p.shifted_copy = gradient_copy(problem.shifted, problem.shifted_strides, problem.shifted_channels,
                                 problem.shifted_length, channels ? Policy::kBlockShifted : window,
                                 layout, sizeof(T));
  p.window_pitch = (p.shifted_copy.pieces * (p.shifted_copy.wide ? 4 : 1) + 3) / 8 * 8 + 4;
  p.shifted_words = channels ? ChannelTile<T, Policy::kBlockShifted>::kWords
                             : Policy::kBlockShifted * p.window_pitch;
  const int stage_bytes =
      4 * (p.shifted_words +
           (channels ? ChannelTile<T, Policy::kBlockSteady>::kWords : Policy::kBlockSteady * 32));
  p.stages = std::min(WeightGradientLimits::kMaxStages, max_shared_bytes / stage_bytes);
  plan.shared_bytes = p.stages * stage_bytes;

  p.steady_tiles = (p.steady_copy.channels - 1) / Policy::kBlockSteady + 1;
  p.shifted_tiles = (p.shifted_copy.channels - 1) / Policy::kBlockShifted + 1;
  p.tap_chunks = (p.kernel_size - 1) / Policy::kTaps + 1;
  p.row_steps = (p.steady_copy.length - 1) / kPositions + 1;
  p.steps = problem.batch * p.row_steps;
  p.flush_steps = WeightGradientLimits::kMaxProductsInRow /
                  (kPositions / 16 / Policy::kWarpsK * (kParts == 2 ? 3 : 1));
  const double tiles =
      static_cast<double>(p.steady_tiles) * p.shifted_tiles * p.tap_chunks * p.groups;
  constexpr double kMaxBlocks = 1 << 30;
  if (p.stages < 2 || tiles > kMaxBlocks) {
    return plan;
  }
  plan.shares = choose_gradient_shares(static_cast<int64_t>(tiles), p.steps, multiprocessors);
  p.steps_per_share = (p.steps - 1) / plan.shares + 1;
  plan.blocks = static_cast<int64_t>(tiles) * plan.shares;
  plan.fits = plan.blocks <= std::numeric_limits<int32_t>::max() &&
              p.steps_per_share <= std::numeric_limits<int32_t>::max();
  return plan;
}

}  // namespace kernelopt
