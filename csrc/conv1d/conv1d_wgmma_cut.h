// How a convolution is cut into blocks of the warpgroup kernel. Includes no torch header.
#pragma once

#include "common/math.h"
#include "conv1d/conv1d_wgmma_params.h"

#include <algorithm>

namespace kernelopt {

/// One past the last element that the input's strides reach.
template <typename T>
const T* conv1d_input_end(const Conv1dProblem& problem) {
  return static_cast<const T*>(problem.input) + (problem.batch - 1) * problem.input_strides.batch +
         (problem.groups * problem.in_channels - 1) * problem.input_strides.channel +
         problem.in_length;
}

/// Tiles that cover the positions of a batch entry.
inline int64_t row_tiles(const Conv1dCorrelation& correlation, int64_t warpgroup_step) {
  const int64_t runs = Conv1dWgmmaShape::kWarpgroups * warpgroup_step;
  return (correlation.positions + runs - 1) / runs;
}

/// Slots of a block, and blocks that share the sum over the input channels.
struct Conv1dCut {
  int block_slots;  // 32, 64 or 128
  int64_t splits;
  double cost;
};

/// What a cut takes, in nanoseconds; fitted to the times of 23 small problems on an H100, each with
/// 1 to 32 splits (docs/tuning/conv1d.md).
struct Conv1dCutCost {
  // Of a block's product of 16 channels and a tap with 256 positions: its fragments cost the same
  // for few slots as for many.
  static constexpr double product(int block_slots, bool two_parts) {
    return block_slots == 128  ? (two_parts ? 470 : 295)
           : block_slots == 64 ? (two_parts ? 360 : 205)
                               : (two_parts ? 300 : 176);
  }
  // Of a block's end, a slot.
  static constexpr double kSlot = 24;
  // Of the second pass: its launch, and one output's sum of one split, written and read.
  static constexpr double kSecondPass = 3000, kSum = 2.4e-3;
  // Of one bulk copy of a window's row.
  static constexpr double kRowCopy = 36;
};

/// What is cut, and how its tiles are made.
struct Conv1dCutProblem {
  int64_t slots;   // of a group
  int64_t chunks;  // of 16 input channels
  int64_t taps;
  int64_t outputs;       // of the whole problem
  int64_t tiles;         // of positions, of all groups and batch entries
  int64_t chunk_copies;  // of rows, for a tile and a chunk
  bool two_passes;       // whether split or not
  bool two_parts;
};

/// The cheapest cut. Many blocks finish early, but each split adds sums to write and to read.
inline Conv1dCut choose_conv1d_cut(const Conv1dCutProblem& problem, int multiprocessors) {
  using Cost = Conv1dCutCost;
  Conv1dCut best{};
  for (int block_slots = 128; block_slots >= 32; block_slots /= 2) {
    if (block_slots > 32 && problem.slots <= block_slots / 2) {
      continue;
    }
    const int64_t blocks = problem.tiles * ((problem.slots + block_slots - 1) / block_slots);
    const int64_t waves = (blocks + multiprocessors - 1) / multiprocessors;
    const int64_t most = std::clamp<int64_t>(multiprocessors / blocks, 1, problem.chunks);
    const double chunk =
        std::max(static_cast<double>(problem.taps) * Cost::product(block_slots, problem.two_parts),
                 static_cast<double>(problem.chunk_copies) * Cost::kRowCopy);
    for (int64_t splits = 1; splits <= most; ++splits) {
      const int64_t split_chunks = (problem.chunks + splits - 1) / splits;
      const double block = static_cast<double>(split_chunks) * chunk + block_slots * Cost::kSlot;
      const double second =
          splits > 1 || problem.two_passes
              ? Cost::kSecondPass + static_cast<double>(splits * problem.outputs) * Cost::kSum
              : 0;
      const double cost = static_cast<double>(waves) * block + second;
      if (best.splits == 0 || cost < best.cost) {
        best = {block_slots, splits, cost};
      }
    }
  }
  return best;
}

/// Whether batch entries of at most a segment's positions can be copied with all their channels at
/// once: a single tap, channels side by side, every 16 of them on 16 bytes.
template <typename T>
bool is_image_batch(const Conv1dProblem& problem, const Conv1dCorrelation& correlation) {
  return correlation.taps == 1 && correlation.input_first == 0 && correlation.input_step == 1 &&
         correlation.run_outputs() == 1 && problem.in_length == problem.out_length &&
         problem.in_length <= Conv1dWgmmaShape::kSegmentRuns &&
         problem.input_strides.channel == problem.in_length &&
         problem.in_channels % Conv1dWgmmaShape::kChunkChannels == 0 &&
         reinterpret_cast<uintptr_t>(problem.input) % 16 == 0 &&
         problem.input_strides.batch * sizeof(T) % 16 == 0;
}

}  // namespace kernelopt
