// How a convolution is cut into blocks of the warpgroup kernel. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_params.h"

#include <algorithm>

namespace kernelopt {

/// Slots of a block, and blocks that share the sum over the input channels.
struct Conv1dCut {
  int block_slots;  // 32, 64 or 128
  int64_t splits;
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
};

/// The cheapest cut. Many blocks finish early, but each split adds sums to write and to read.
/// @param slots    of a group
/// @param chunks   of 16 input channels
/// @param outputs  of the whole problem
/// @param blocks   blocks(block_slots) is the number of tiles
template <typename Blocks>
Conv1dCut choose_conv1d_cut(int64_t slots, int64_t chunks, int64_t taps, int64_t outputs,
                            bool two_parts, int multiprocessors, Blocks&& blocks) {
  using Cost = Conv1dCutCost;
  Conv1dCut best{};
  double best_cost = 0;
  for (int block_slots = slots > 64   ? 128
                         : slots > 32 ? 64
                                      : 32;
       block_slots >= 32; block_slots /= 2) {
    const int64_t tiles = blocks(block_slots);
    const int64_t waves = (tiles + multiprocessors - 1) / multiprocessors;
    const int64_t most = std::clamp<int64_t>(multiprocessors / tiles, 1, chunks);
    for (int64_t splits = 1; splits <= most; ++splits) {
      const int64_t split_chunks = (chunks + splits - 1) / splits;
      const double block =
          static_cast<double>(split_chunks * taps) * Cost::product(block_slots, two_parts) +
          block_slots * Cost::kSlot;
      const double second =
          splits > 1 ? Cost::kSecondPass + static_cast<double>(splits * outputs) * Cost::kSum : 0;
      const double cost = static_cast<double>(waves) * block + second;
      if (best.splits == 0 || cost < best_cost) {
        best = {block_slots, splits};
        best_cost = cost;
      }
    }
  }
  return best;
}

}  // namespace kernelopt
