// Tiles of the tensor-core weight gradient. Includes no torch header.
#pragma once

#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// A block owns kTaps taps of kBlockShifted shifted channels for kBlockSteady steady channels. Of
/// its kWarpsShifted x kWarpsSteady x kWarpsK warps each owns all taps of 16 * kTilesShifted
/// shifted channels for 8 * kTilesSteady steady ones; warps along K divide the positions of a step.
template <int kTaps_, int kTilesShifted_, int kTilesSteady_, int kWarpsShifted_, int kWarpsSteady_,
          int kWarpsK_>
struct WeightGradientMmaPolicy {
  static constexpr int kTaps = kTaps_;
  static constexpr int kTilesShifted = kTilesShifted_;
  static constexpr int kTilesSteady = kTilesSteady_;
  static constexpr int kWarpsShifted = kWarpsShifted_;
  static constexpr int kWarpsSteady = kWarpsSteady_;
  static constexpr int kWarpsK = kWarpsK_;
  static constexpr int kBlockShifted = kWarpsShifted * kTilesShifted * 16;
  static constexpr int kBlockSteady = kWarpsSteady * kTilesSteady * 8;
  static constexpr int kThreads = kWarpsShifted * kWarpsSteady * kWarpsK * 32;
};

using PointwiseGradient = WeightGradientMmaPolicy<1, 2, 8, 2, 2, 2>;
// For at most 16 shifted channels.
using SlimPointwiseGradient = WeightGradientMmaPolicy<1, 1, 4, 1, 4, 2>;
using WidePointwiseGradient = WeightGradientMmaPolicy<1, 4, 8, 2, 2, 2>;
using WideGradient = WeightGradientMmaPolicy<3, 1, 8, 4, 2, 1>;
// For at most 32 steady channels.
using NarrowGradient = WeightGradientMmaPolicy<3, 1, 4, 4, 1, 2>;
using NarrowTallGradient = WeightGradientMmaPolicy<5, 1, 4, 4, 1, 2>;

/// How both operands lie in memory: rows along the length, read at stride 1 or at another one, or
/// channels side by side.
enum class GradientLayout { kRows, kStridedRows, kChannels };

/// Positions of a step: 128 bytes of a row.
template <typename T>
constexpr int kGradientPositions = sizeof(T) == 4 ? 32 : 64;

struct WeightGradientLimits {
  // Channels of a group, below which most of a fragment would be zeros; of a single tap, which is
  // limited by memory, the shifted ones may be fewer.
  static constexpr int kMinChannels = 8;
  static constexpr int kMinTapChannels = 2;
  // Products of an element from which on two more launches, and a copy of taps, are worth it.
  static constexpr int64_t kMinUnfoldedSteps = 8193;
  static constexpr int kMaxStages = 4;  // steps in shared memory or on their way
  static constexpr int64_t kMaxIndex = 1 << 30;
  // Steps of a share, so that its sums are a small part of what it reads.
  static constexpr int kMinStepsPerShare = 8;
  // What a share costs beside its steps, in steps: filling the pipeline and writing its sums.
  static constexpr int kShareOverhead = 4;
  // Tensor cores round sums towards zero: after so many products in a row a sum is added to the
  // share's in device memory, rounded to nearest.
  static constexpr int kMaxProductsInRow = 384;
};

/// Calls `function(Policy{})` with the tiles for a problem's channels and taps.
template <typename Function>
void with_weight_gradient_policy(const Conv1dWeightGradientProblem& problem, GradientLayout layout,
                                 Function&& function) {
  const auto padded_taps = [&](int64_t taps) {
    return (problem.kernel_size + taps - 1) / taps * taps;
  };
  if (problem.kernel_size == 1 || layout == GradientLayout::kChannels) {
    if (problem.shifted_channels <= SlimPointwiseGradient::kBlockShifted &&
        layout != GradientLayout::kChannels) {
      function(SlimPointwiseGradient{});
    } else if (problem.shifted_channels > PointwiseGradient::kBlockShifted) {
      function(WidePointwiseGradient{});
    } else {
      function(PointwiseGradient{});
    }
  } else if (problem.steady_channels > NarrowGradient::kBlockSteady) {
    function(WideGradient{});
  } else if (padded_taps(NarrowGradient::kTaps) < padded_taps(NarrowTallGradient::kTaps)) {
    function(NarrowGradient{});
  } else {
    function(NarrowTallGradient{});
  }
}

}  // namespace kernelopt
