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

/// What a cut takes, in nanoseconds; fitted as conv1d_wgmma_packed_policy.h says.
struct Conv1dCutCost {
  // Of a block's product of 16 channels and a tap with 256 positions: its fragments cost the same
  // for few slots as for many.
  static constexpr double product(int block_slots, bool two_parts) {
    return block_slots == 128  ? (two_parts ? 440 : 295)
           : block_slots == 64 ? (two_parts ? 320 : 240)
                               : (two_parts ? 240 : 170);
  }
  // Of a block's end, a slot.
  static constexpr double kSlot = 21.5;
  // Of the second pass: its launch, and one output's sum of one split, written and read.
  static constexpr double kSecondPass = 1500, kSum = 1.5e-3;
  // Of one bulk copy of a window's row.
  static constexpr double kRowCopy = 42;
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
  // The same as `tiles` where sums are not split: the rows of those may lie anywhere, and where
  // they begin inside a sector, tiles may overlap.
  int64_t unsplit_tiles;
};

/// The cheapest cut. Many blocks finish early, but each split adds sums to write and to read.
inline Conv1dCut choose_conv1d_cut(const Conv1dCutProblem& problem, int multiprocessors) {
  using Cost = Conv1dCutCost;
  Conv1dCut best{};
  for (int block_slots = 128; block_slots >= 32; block_slots /= 2) {
    if (block_slots > 32 && problem.slots <= block_slots / 2) {
      continue;
    }
    const int64_t tile_blocks = divide_up(problem.slots, block_slots);
    const int64_t blocks = problem.tiles * tile_blocks;
    const int64_t unsplit_blocks = problem.unsplit_tiles * tile_blocks;
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
      const int64_t waves = divide_up(splits > 1 ? blocks : unsplit_blocks, multiprocessors);
      const double cost = static_cast<double>(waves) * block + second;
      if (best.splits == 0 || cost < best.cost) {
        best = {block_slots, splits, cost};
      }
    }
  }
  return best;
}

/// Bytes that a tile loads for a channel, of what is one run's.
/// @param window_cost  of a window's byte, in bytes
inline double loaded_bytes(const Conv1dWgmmaParams& p, int64_t window_cost = 1) {
  const int64_t steps = divide_up(p.correlation.taps, p.taps_per_step);
  return static_cast<double>(steps * (p.window_bytes * window_cost + p.step_weight_bytes)) /
         static_cast<double>(p.stage_channels * p.warpgroup_step);
}

/// Fits a plan with weights that stay in shared memory, or that come with every step. Those that
/// stay may leave room for so few taps a step that the windows, which come again for every step of
/// them, are more than the weights: 16x120x8192 -> 48, k5 took 0.157 ms in float32.
/// @param may_keep  whether they may stay
/// @param fit_taps  fit_taps(keep) fits as many taps a step as it can; false where none do
/// @param window_cost  as above
template <typename Plan, typename FitTaps>
void fit_weights(Plan& plan, bool may_keep, FitTaps&& fit_taps, int64_t window_cost = 1) {
  const bool keeps = may_keep && fit_taps(true);
  plan.fits = keeps;
  if (keeps && plan.params.taps_per_step >= plan.params.correlation.taps) {
    return;
  }
  const Plan kept = plan;
  plan.fits = fit_taps(false);
  if (keeps && (!plan.fits ||
                loaded_bytes(kept.params, window_cost) <= loaded_bytes(plan.params, window_cost))) {
    plan = kept;
  }
}

/// Bytes of a row of a box, which begins on 16 bytes before the first position: 16 more than a
/// multiple of 32 put the four rows that a fragment reads at once in different banks.
/// @param runs  of a box
template <typename T>
int64_t box_pitch(const Conv1dCorrelation& correlation, int64_t taps, int64_t runs) {
  constexpr int64_t kSize = sizeof(T);
  const int64_t length = runs + (taps - 1) * correlation.tap_step + 16 / kSize - 1;
  return round_up(length * kSize - 16, 32) + 16;
}

/// Whether windows are copied as boxes: rows on 16 bytes, short enough for a box. Channels that
/// only fill the last chunk are then those behind the last, so zeros, or another group's. Not where
/// memory is the limit, for a box reads lines of 128 bytes that the next one reads again. In
/// float32 32x512x784 -> 128, k1 took 0.048 ms instead of 0.043, problem 74 0.78 instead of 0.75.
template <typename T>
bool has_boxes(const Conv1dProblem& problem, const Conv1dCorrelation& correlation) {
  constexpr int64_t kVector = 16 / static_cast<int64_t>(sizeof(T)), kMaxBox = 256;
  constexpr int64_t kLine = 128 / static_cast<int64_t>(sizeof(T)), kMinReduction = 192;
  return correlation.input_step == 1 &&
         problem.input_strides.channel % (correlation.taps == 1 ? kLine : kVector) == 0 &&
         (problem.batch == 1 || problem.input_strides.batch % kVector == 0) &&
         reinterpret_cast<uintptr_t>(problem.input) % 16 == 0 &&
         problem.in_channels * correlation.taps >= kMinReduction &&
         (problem.groups == 1 || problem.in_channels % Conv1dWgmmaShape::kChunkChannels == 0) &&
         box_pitch<T>(correlation, correlation.taps, Conv1dWgmmaShape::kWarpgroupM) <=
             kMaxBox * int64_t{sizeof(T)};
}

/// The map of the boxes. False where the driver refuses it.
template <typename T>
bool encode_input_map(Conv1dWgmmaParams* params) {
  constexpr uint64_t kSize = sizeof(T);
  const Conv1dProblem& problem = params->problem;
  const uint64_t channels = problem.groups * problem.in_channels;
  const uint64_t row_bytes = problem.input_strides.channel * kSize;
  const uint64_t entry_bytes =
      problem.batch == 1 ? channels * row_bytes : problem.input_strides.batch * kSize;
  const TensorMapShape shape{
      kSize,
      {static_cast<uint64_t>(problem.in_length), channels, static_cast<uint64_t>(problem.batch), 1},
      {row_bytes, entry_bytes, entry_bytes},
      {static_cast<uint32_t>(params->window_pitch / kSize),
       static_cast<uint32_t>(params->stage_channels), 1, 1},
      false};
  return encode_tensor_map(shape, problem.input, &params->input_map);
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
