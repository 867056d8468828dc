// Tiles of the tensor-core correlation. Includes no torch header.
#pragma once

namespace kernelopt {

/// kWarpsM x kWarpsN warps, each 16 * kTilesM output channels by 32 positions.
template <int kWarpsM_, int kWarpsN_, int kTilesM_, int kBlocksPerMultiprocessor_>
struct CorrelationMmaPolicy {
  static constexpr int kWarpsM = kWarpsM_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kTilesM = kTilesM_;
  static constexpr int kBlocksPerMultiprocessor = kBlocksPerMultiprocessor_;
  static constexpr int kThreads = kWarpsM * kWarpsN * 32;
  static constexpr int kBlockM = kWarpsM * kTilesM * 16;
  static constexpr int kBlockN = kWarpsN * 32;
  static constexpr int kStages = 3;
  // The block's results pass through shared memory kSlabRows at a time; the pitch puts the four
  // 8-byte writes of a column group in different banks.
  static constexpr int kSlabRows = kWarpsM * 16;
  static constexpr int kSlabPitch = kBlockN + 8;
};

// Measured on an H200 (docs/tuning/conv1d.md): 128 x 256 tiles are the fastest for more than 64
// channels, fp32 and 16-bit alike; strided fp32 windows only fit half of that width.
using WideCorrelation = CorrelationMmaPolicy<2, 8, 4, 1>;
using SquareCorrelation = CorrelationMmaPolicy<2, 4, 4, 1>;
using TallCorrelation = CorrelationMmaPolicy<1, 8, 4, 2>;
using FlatCorrelation = CorrelationMmaPolicy<1, 8, 2, 2>;
// For few positions: more blocks.
using SmallCorrelation = CorrelationMmaPolicy<2, 2, 2, 2>;

struct CorrelationLimits {
  // Channels of a group, below which most of a fragment would be zeros.
  static constexpr long kMinChannels = 8;
  // Products of the whole problem, below which packing the weights, a launch of its own, costs more
  // than the tensor cores gain.
  static constexpr double kMinProducts = 1 << 24;
  // Hopper's kernel splits long sums among blocks, where those on CUDA cores add them one step
  // after the other. It is the faster one from about this many products an output on, however few
  // outputs there are (measured, docs/tuning/conv1d.md).
  static constexpr long kMinHopperReduction = 48;
  // Hopper's kernel is also the faster one for fewer than kMinChannels output channels, most of
  // whose tile is empty, from so many input channels and products an output on (measured there).
  static constexpr long kMinFewOutputsChannels = 32;
  static constexpr long kMinFewOutputsReduction = 128;
  static constexpr long kMaxFewOutputsPhases = 4;  // not measured beyond
  // A phase is a launch.
  static constexpr long kMaxPhases = 16;
  static constexpr long kMaxBatch = 1 << 30;
};

}  // namespace kernelopt
