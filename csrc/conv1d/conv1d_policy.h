// Tuning of the one-dimensional convolution kernels on CUDA cores, and which of them serves a
// problem that the tensor cores (conv1d_mma.cu) do not. Includes no torch header.
#pragma once

#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// A block computes tile_m channels by tile_n positions, tile_k steps of the reduction at a time;
/// a thread owns 4 x 4 outputs.
template <int kM, int kN, int kK>
struct GemmTile {
  static constexpr int kTileM = kM;
  static constexpr int kTileN = kN;
  static constexpr int kTileK = kK;
  static constexpr int kThreadsN = kN / 4;
  static constexpr int kThreads = kM / 4 * kThreadsN;
};

using SquareTile = GemmTile<64, 64, 16>;
// For few output channels: as many outputs a block, from a quarter of the channels.
using FlatTile = GemmTile<16, 256, 8>;

enum class Conv1dAlgorithm { kDirect, kFlatGemm, kSquareGemm };

struct Conv1dPolicy {
  // With fewer output channels of a group more than half of the rows of even a flat tile are empty;
  // with a shorter reduction not one step of a tile is full.
  static constexpr int64_t kMinGemmChannels = 8;
  static constexpr int64_t kMinGemmReduction = 8;
  // Up to this many output channels of a group, flat tiles cover them with less waste.
  static constexpr int64_t kMaxFlatChannels = 32;
};

struct Conv1dDirectPolicy {
  static constexpr int kThreads = 256;
  // Outputs a thread: independent loads in flight for every weight.
  static constexpr int kItems = 4;
};

struct Conv1dPhasesPolicy {
  static constexpr int kThreads = 256;  // a block's, at most
  static constexpr int kLoads = 4;      // of inputs, under way at once
  // Taps of a block; 48 KiB is what every launch may ask for.
  static constexpr double kSharedBytes = 48 * 1024;
};

struct Conv1dSlidingPolicy {
  static constexpr int kThreads = 128;
  static constexpr int kVectorsPerThread = 8;  // 16 bytes of outputs each
  static constexpr int kBlocksPerMultiprocessor = 4;
  // Inputs and outputs of a block. Never above 48 KiB, which every launch may ask for.
  static constexpr int kSharedBytes = 40 * 1024;
  // Beyond these the halo of a tile outweighs the tile.
  static constexpr int64_t kMaxKernelSize = 128;
  static constexpr int64_t kMaxReachBytes = 8 * 1024;
  // Rows that are not dense cost a block each.
  static constexpr int64_t kMinSparseLength = 512;
};

struct Conv1dWeightGradientPolicy {
  using Tile = GemmTile<64, 64, 16>;
  static constexpr int kDirectThreads = 256;
  static constexpr int kDirectTaps = 4;  // taps a block of the direct kernel sums at once
  // Products a thread adds before a second block shares the work, so that partial sums cost little.
  static constexpr int64_t kMinStepsPerShare = 512;
  static constexpr int64_t kMinDirectStepsPerShare = 16 * kDirectThreads;
  // Blocks a multiprocessor that keep it busy.
  static constexpr int64_t kBlocksPerMultiprocessor = 4;
  // A GEMM tile with fewer channels or fewer (channel, tap) columns is mostly empty.
  static constexpr int64_t kMinGemmChannels = 8;
  static constexpr int64_t kMinGemmColumns = 8;
};

/// Whether positions along the length, and steps of the reduction, fit 32 bits, two of them added.
inline bool fits_32_bits(double positions, double reduction) {
  constexpr double kLimit = 1 << 30;
  return positions < kLimit && reduction < kLimit;
}

inline bool fits_32_bits(const Conv1dProblem& problem) {
  const double reach = static_cast<double>(problem.kernel_size - 1) * problem.dilation;
  const double positions = static_cast<double>(problem.in_length) + problem.out_length +
                           2.0 * problem.padding + reach + problem.stride;
  const double reduction = static_cast<double>(problem.in_channels) * problem.kernel_size;
  return fits_32_bits(positions, reduction);
}

inline bool fits_32_bits(const Conv1dWeightGradientProblem& problem) {
  const double positions = static_cast<double>(problem.steady_length) * problem.stride +
                           static_cast<double>(problem.kernel_size) * problem.dilation +
                           problem.steady_length + problem.shifted_length + 2.0 * problem.padding +
                           problem.batch;
  const double columns = static_cast<double>(problem.shifted_channels) * problem.kernel_size;
  return fits_32_bits(positions, columns);
}

/// Phases of a transposed convolution that a thread of the phases kernel owns, taps of the phase
/// that has the most, and the block's shared memory for them.
inline int conv1d_phases_together(const Conv1dProblem& problem) {
  return problem.stride <= 2 ? 2 : problem.stride <= 4 ? 4 : 8;
}
inline int64_t conv1d_taps_of_phases(const Conv1dProblem& problem) {
  return (problem.kernel_size - 1) / problem.stride + 1;
}
inline double conv1d_phases_shared_bytes(const Conv1dProblem& problem) {
  return 4.0 * problem.in_channels * conv1d_taps_of_phases(problem) *
         conv1d_phases_together(problem);
}

/// Whether the phases kernel serves a problem: few output channels, which no tile has use for.
inline bool phases_serve(const Conv1dProblem& problem) {
  return problem.transposed && problem.stride > 1 && problem.dilation == 1 &&
         problem.out_channels < Conv1dPolicy::kMinGemmChannels && problem.groups < (1 << 27) &&
         fits_32_bits(problem) &&
         conv1d_phases_shared_bytes(problem) <= Conv1dPhasesPolicy::kSharedBytes;
}

inline Conv1dAlgorithm choose_algorithm(const Conv1dProblem& problem, const Conv1dPhases& phases) {
  const int64_t taps = (problem.kernel_size - 1) / phases.tap_step + 1;
  if (!fits_32_bits(problem) || problem.out_channels < Conv1dPolicy::kMinGemmChannels ||
      problem.in_channels * taps < Conv1dPolicy::kMinGemmReduction) {
    return Conv1dAlgorithm::kDirect;
  }
  return problem.out_channels <= Conv1dPolicy::kMaxFlatChannels ? Conv1dAlgorithm::kFlatGemm
                                                                : Conv1dAlgorithm::kSquareGemm;
}

}  // namespace kernelopt
