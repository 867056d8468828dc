// How a convolution is cut for conv1d_wgmma_held_kernel, and which it serves. Includes no torch
// header.
#pragma once

#include "conv1d/conv1d_wgmma_held_params.h"
#include "conv1d/conv1d_wgmma_plan.h"
#include "conv1d/conv1d_wgmma_shared_map.h"
#include "conv1d/conv1d_wgmma_shared_stages.h"

namespace kernelopt {

struct Conv1dWgmmaHeldPlan : Conv1dWgmmaLaunch {
  Conv1dWgmmaHeldParams params{};
};

/// Times on an H100, in microseconds: with this kernel and with the fastest of the others.
struct Conv1dWgmmaHeldLimits {
  // Positions from the first tap to the last: a window holds them besides its tile.
  static constexpr int64_t kMaxReach = 128;
  static constexpr int kMaxInputStep = 4;
  // A warpgroup has 64 slots. Counted.
  static constexpr int64_t kMinChannels = 33;
  // Of the multiprocessors that have a block, where all weights are held, and where not: bfloat16
  // 1x64x12000 -> 64, k3 on 47 took 9.7 and 10.5, 1x12x1000 -> 128, k7 on 5 9.8 and 8.6;
  // 1x48x16384 -> 72, k15 on 64 14.0 and 15.1, 16x256x256 -> 256, k3 on 32 17.4 and 15.0.
  static constexpr int64_t kLeastBlocks = 3, kLeastBlocksOfMany = 2;  // one of so many
  // Blocks of slots, of which each makes the operands again, where they have several tiles each:
  // bfloat16 16x80x3000 -> 384, k3 37.4 and 38.4, -> 768 73.6 and 70.8.
  static constexpr int kMaxSlotBlocks = 3;
  // Of one tap there are kernels with 256 slots: bfloat16 1x768x196608 -> 768, k1 909 and 618.
  static constexpr int64_t kMinTapsOfMany = 2;
  // Rows that have no common place in 16 bytes come as pieces and are put together value by value.
  // With 16 bits that pays for several taps and long rows: 8x64x16757 -> 64, k7 32.8 and 45.2,
  // 128x128x497 -> 128, k3 71 and 44, 1x64x66150 -> 64, k1 20.9 and 19.8. Not with fp32:
  // 1x64x60001 -> 128, k3 d64 45.4 and 38.7.
  static constexpr int64_t kMinOddTaps = 3, kMinOddPositions = 12000;
};

/// Whether the kernel is the fastest for a plan that fits.
template <typename T>
bool held_kernel_pays(const Conv1dWgmmaHeldPlan& plan, int multiprocessors) {
  using Limits = Conv1dWgmmaHeldLimits;
  const Conv1dWgmmaHeldParams& p = plan.params;
  const Conv1dCorrelation& correlation = p.correlation;
  if (!p.aligned_rows &&
      (sizeof(T) == 4 || correlation.input_step > 1 || correlation.taps < Limits::kMinOddTaps ||
       correlation.positions < Limits::kMinOddPositions)) {
    return false;
  }
  if (p.n_blocks > Limits::kMaxSlotBlocks && plan.grid_x < p.all_tiles) {
    return false;
  }
  const bool holds_all = p.resident_bytes == 0;
  const int64_t blocks = int64_t{plan.grid_x} * plan.grid_y;
  return (holds_all || correlation.taps >= Limits::kMinTapsOfMany) &&
         blocks * (holds_all ? Limits::kLeastBlocks : Limits::kLeastBlocksOfMany) >=
             multiprocessors;
}

/// Says where the operands of a tile's steps are: chunk by chunk the taps, whose positions lie
/// sorted by their residues modulo the input step.
inline void place_held_steps(Conv1dWgmmaHeldParams* params) {
  Conv1dWgmmaHeldParams& p = *params;
  const int stage_chunks = p.stage_channels / Conv1dWgmmaHeldShape::kChunkChannels;
  p.stage_steps = stage_chunks * p.correlation.taps;
  for (int step = 0; step < p.steps; ++step) {
    const int chunk = step / p.correlation.taps % stage_chunks;
    const int position = step % p.correlation.taps * p.correlation.tap_step;
    p.step_places[step] =
        static_cast<uint16_t>(chunk * 2 * p.operand_pitch + position / p.correlation.input_step +
                              position % p.correlation.input_step * p.residue_pitch);
  }
}

/// Plans a problem within 32-bit positions with rows that run along the length. `fits` is false
/// where the kernel cannot take it, and where another is faster.
template <typename T>
Conv1dWgmmaHeldPlan plan_conv1d_wgmma_held(const Conv1dProblem& problem, int max_shared_bytes,
                                           int multiprocessors) {
  using Shape = Conv1dWgmmaHeldShape;
  using Limits = Conv1dWgmmaHeldLimits;
  constexpr int kParts = MmaTraits<T>::kParts;
  Conv1dWgmmaHeldPlan plan;
  Conv1dWgmmaHeldParams& p = plan.params;
  p.problem = problem;
  p.correlation = conv1d_correlation(problem);
  const Conv1dCorrelation& correlation = p.correlation;
  if (correlation.taps == 0 || correlation.residues > 1 ||
      correlation.input_step > Limits::kMaxInputStep ||
      problem.out_channels < Limits::kMinChannels ||
      int64_t{correlation.taps - 1} * correlation.tap_step >
          Limits::kMaxReach * correlation.input_step) {
    return plan;
  }
  p.channel_chunks = static_cast<int>(divide_up(problem.in_channels, Shape::kChunkChannels));
  const int64_t steps = int64_t{p.channel_chunks} * correlation.taps;
  if (steps > (kParts == 2 ? int64_t{Shape::kSteps} : int64_t{Conv1dWgmmaHeldParams::kMaxSteps})) {
    return plan;
  }
  p.steps = static_cast<int>(steps);
  p.pass_channels = Shape::kPassColumns;
  p.segments = 1;
  p.splits_slots = problem.out_channels > Shape::kSlots;
  plan.block_slots = p.block_slots();
  p.n_blocks = static_cast<int>(divide_up(problem.out_channels, plan.block_slots));
  const int64_t step_bytes = int64_t{plan.block_slots} * 32;
  p.resident_bytes = static_cast<int>(std::max<int64_t>(steps - Shape::kSteps, 0) * step_bytes);
  const int64_t grid_y = problem.groups * p.n_blocks;
  plan.packed_bytes = grid_y * steps * step_bytes * kParts;

  // Output rows that begin anywhere in a 32-byte sector: tiles overlap by a sector, so that every
  // row is stored from a sector's start to a sector's start.
  constexpr int kSector = 32 / sizeof(T);
  const int overlap =
      output_rows_begin_on<T>(problem, kSector) ? 0 : kSector / correlation.run_outputs();
  p.aligned_rows = problem.input_strides.channel % (16 / sizeof(T)) == 0;
  p.aligned_output = output_rows_begin_on<T>(problem, kSector / 2);
  p.even_output = output_rows_begin_on<T>(problem, 2) && correlation.run_outputs() == 1;
  p.tile_runs = Conv1dWgmmaHeldTile<T>::kPositions;
  p.warpgroup_step = (p.tile_runs - overlap) / 2;
  p.tiles = static_cast<int>(divide_up(correlation.positions, 2 * p.warpgroup_step));
  p.all_tiles = problem.batch * p.tiles;

  // The last position read, padded tiles included, must fit 32 bits.
  if (plan.packed_bytes > Conv1dWgmmaLimits::kMaxPackedBytes || grid_y > 65535 ||
      last_position_read(correlation, (int64_t{p.tiles} + 1) * p.tile_runs) >
          std::numeric_limits<int32_t>::max()) {
    return plan;
  }
  const int64_t slabs = Shape::kWarpgroups * 4 * Shape::kSlabRows *
                        Conv1dWgmmaHeldTile<T>::kSlabPitch * static_cast<int64_t>(sizeof(T));
  const int64_t fixed =
      p.resident_bytes + slabs + 2 * Shape::kSlots * 8 + Shape::kFlagBytes + Shape::kBarrierBytes;
  const auto fit = [&](int channels) {
    plan.shared_bytes =
        fit_operand_stages<T, Shape>(&p, correlation.taps, channels, 2, fixed, 0, max_shared_bytes);
    return plan.shared_bytes > 0;
  };
  plan.fits = (p.channel_chunks > 1 && fit(32)) || fit(16);
  if (!plan.fits) {
    return plan;
  }
  place_held_steps(&p);
  map_conv1d_windows<T>(&p);
  // Of tiles that both multiply, the stages stay until the second warpgroup has had its turn. Of
  // others, a warpgroup that did not wait for the other's stages must know that they have been
  // there: as many are left out as the ring has or more.
  const int64_t stages = divide_up(p.channel_chunks * Shape::kChunkChannels, p.stage_channels);
  p.takes_turns = p.splits_slots == (stages < p.operand_stages);
  plan.grid_x = static_cast<unsigned>(
      std::clamp<int64_t>(multiprocessors / grid_y, 1, p.all_tiles));  // one wave
  plan.grid_y = static_cast<unsigned>(grid_y);
  plan.fits = held_kernel_pays<T>(plan, multiprocessors);
  return plan;
}

}  // namespace kernelopt
