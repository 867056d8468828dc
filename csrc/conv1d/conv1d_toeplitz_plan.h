// How a convolution of few channels is cut for the Toeplitz kernel. Passed to it by value. Includes
// no torch header.
#pragma once

#include "common/mma.cuh"
#include "conv1d/conv1d_problem.h"

#include <algorithm>

namespace kernelopt {

struct Conv1dToeplitzShape {
  static constexpr int kWarps = 8;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kBlocksPerMultiprocessor = 2;
  static constexpr int kTilesN = 8;  // of 8 positions, of a warp
  static constexpr int kColumns = kTilesN * 8;
  // The pitch of 8 words modulo 32 puts the rows that half a warp writes in different banks.
  static constexpr int kSlabPitch = kColumns + 8;
};

/// The reduction goes over pairs of neighbouring taps of a channel, eight to a step.
struct Conv1dToeplitzParams {
  Conv1dProblem problem;
  int m_blocks, block_tiles;  // blocks of 16-channel tiles of a group, tiles of a block
  int channel_pairs;          // of taps, the last of them maybe with a single one
  int steps;
  int subtiles, row_tiles;  // of a tile, tiles of a row
  int entries;              // batch entries of a tile
  int row_threads;          // that load a channel's window, a power of two
  int64_t all_tiles;
  int window_pitch, window_words;  // of a channel's window, of all of them
  bool aligned;                    // every output row begins at a multiple of four elements
};

struct Conv1dToeplitzPlan {
  bool fits = false;
  int shared_bytes = 0;
  unsigned grid_x = 0, grid_y = 0;
  Conv1dToeplitzParams params{};
};

/// Plans a problem within 32-bit positions that is not transposed.
/// @param warp_tiles    16-channel tiles of a warp
/// @param shared_words  whether a channel has whole steps, as toeplitz_shares_words() has it
template <typename T>
Conv1dToeplitzPlan plan_conv1d_toeplitz(const Conv1dProblem& problem, int warp_tiles,
                                        bool shared_words, int max_shared_bytes,
                                        int multiprocessors) {
  using Shape = Conv1dToeplitzShape;
  constexpr int kParts = MmaTraits<T>::kParts;
  Conv1dToeplitzPlan plan;
  Conv1dToeplitzParams& p = plan.params;
  p.problem = problem;
  p.channel_pairs = static_cast<int>(shared_words ? round_up(problem.kernel_size, 16) / 2
                                                  : divide_up(problem.kernel_size, 2));
  const int64_t steps = divide_up(problem.in_channels * p.channel_pairs, 8);
  const int64_t warp_groups = divide_up(problem.out_channels, 16 * warp_tiles);
  const int64_t tile_bytes = steps * kParts * 512;
  const int64_t fixed = Shape::kWarps * 16 * Shape::kSlabPitch * 4 + (steps + 1) * 32;
  p.steps = static_cast<int>(steps);
  p.aligned = reinterpret_cast<uintptr_t>(problem.output) % (4 * sizeof(T)) == 0 &&
              problem.output_strides.channel % 4 == 0 && problem.output_strides.batch % 4 == 0;
  const int64_t row_subtiles = divide_up(problem.out_length, Shape::kColumns);
  for (int blocks = Shape::kBlocksPerMultiprocessor; blocks >= 1 && !plan.fits; --blocks) {
    const int64_t budget = max_shared_bytes / blocks - (blocks > 1 ? 1024 : 0);
    double least = 0;
    // The longer a tile, the fewer waits for its windows, but the coarser the blocks' shares.
    for (const int64_t most : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32}) {
      const int64_t row_tiles = divide_up(row_subtiles, most);
      const int64_t subtiles = divide_up(row_subtiles, row_tiles);
      // A single tile of columns may reach beyond the row: its products then read behind the
      // window.
      const int64_t columns = subtiles * Shape::kColumns;
      const int64_t real_columns =
          row_subtiles == 1 ? std::min(columns, problem.out_length) : columns;
      const int64_t pitch =
          (real_columns - 1) * problem.stride + (2 * p.channel_pairs - 2) * problem.dilation + 1;
      const int64_t behind = (columns - real_columns) * problem.stride;
      // Whole rows that leave warps of a block idle come with those of other batch entries.
      const int64_t most_entries = row_tiles == 1 ? std::min<int64_t>(problem.batch, 8) : 1;
      for (int64_t entries = 1; entries <= most_entries; entries *= 2) {
        const int64_t words = (entries * pitch * problem.in_channels + behind) * kParts;
        const int64_t left = budget - fixed - 2 * words * 4;
        const int64_t group_bytes = warp_tiles * (tile_bytes + 64);
        if (left < group_bytes) {
          break;  // nor do longer windows fit
        }
        const int64_t all_tiles = row_tiles * divide_up(problem.batch, entries);
        // Blocks of about the same number of channels; more of them where that leaves
        // multiprocessors idle.
        for (int64_t m_blocks = divide_up(warp_groups, left / group_bytes);;
             m_blocks = std::min(2 * m_blocks, warp_groups)) {
          const int64_t block_groups = divide_up(warp_groups, m_blocks);
          const int64_t grid_y = divide_up(warp_groups, block_groups) * problem.groups;
          const int64_t grid_x =
              std::clamp<int64_t>(int64_t{multiprocessors} * blocks / grid_y, 1, all_tiles);
          // Counted in steps of a warp's products: its items, what a tile costs besides, the
          // weights.
          const double item = steps * (kParts == 2 ? 3.0 : 1.0) + 8.0;
          const int64_t items = divide_up(entries * subtiles * block_groups, Shape::kWarps);
          const double cost =
              (divide_up(all_tiles, grid_x) * (items * item + 16.0 + words / 256.0) +
               block_groups * warp_tiles * steps / 8.0) *
              divide_up(grid_y * grid_x, int64_t{multiprocessors} * blocks);
          if (grid_y <= 65535 && (!plan.fits || cost < least)) {
            least = cost;
            p.m_blocks = static_cast<int>(divide_up(warp_groups, block_groups));
            p.block_tiles = static_cast<int>(block_groups) * warp_tiles;
            p.subtiles = static_cast<int>(subtiles);
            p.row_tiles = static_cast<int>(row_tiles);
            p.entries = static_cast<int>(entries);
            p.all_tiles = all_tiles;
            p.window_pitch = static_cast<int>(pitch);
            p.window_words = static_cast<int>(words);
            plan.shared_bytes =
                static_cast<int>(fixed + 2 * words * 4 + block_groups * group_bytes);
            plan.grid_y = static_cast<unsigned>(grid_y);
            plan.grid_x = static_cast<unsigned>(grid_x);
            plan.fits = true;
          }
          if (m_blocks >= warp_groups) {
            break;
          }
        }
      }
    }
  }
  p.row_threads = Shape::kThreads;
  while (p.row_threads > 32 && Shape::kThreads / p.row_threads < p.entries * problem.in_channels) {
    p.row_threads /= 2;
  }
  return plan;
}

}  // namespace kernelopt
