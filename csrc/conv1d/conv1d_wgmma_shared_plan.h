// How a convolution is cut for conv1d_wgmma_shared_kernel, and which it serves. Includes no torch
// header.
#pragma once

#include "conv1d/conv1d_wgmma_plan.h"
#include "conv1d/conv1d_wgmma_shared_map.h"
#include "conv1d/conv1d_wgmma_shared_stages.h"

namespace kernelopt {

struct Conv1dWgmmaSharedPlan : Conv1dWgmmaLaunch {
  using Shape = Conv1dWgmmaSharedShape;
  Conv1dWgmmaSharedParams params{};
};

struct Conv1dWgmmaSharedLimits {
  // Positions from the first tap to the last, half of a tile: what a window holds besides its tile
  // is transposed for every tile. 8x64x8000 -> 128, k2 d512 took 0.069 ms, 0.037 by the other one.
  static constexpr int64_t kMaxReach = 128;
  // Higher ones have windows that leave no room for a second one.
  static constexpr int kMaxInputStep = 4;
  // Taps from which on a window that is transposed in blocks pays where arithmetic is the limit:
  // 16x256x2048 -> 256, k11 d5 took 0.099 ms, 0.109 with the other kernel.
  static constexpr int kManyTaps = 9;
  // Of a window's byte, in bytes of weights: it is transposed as well. 16x128x8191 -> 64, k5 took
  // 0.19 ms with two taps a step and weights that stay, 0.07 with five.
  static constexpr int64_t kWindowCost = 4;
  // A thread has all residues of a channel, and writes them as a word. When it wrote them with
  // gaps, 16x512x256 -> 256, k16 s8 took 0.18 ms, 0.09 with the other kernel.
  static constexpr int kMaxResidues = 2;
  // Of operands, where tiles adjoin: 64 with GELU took 1.22 ms with two, 1.08 with three (H200).
  static constexpr int kLeastStages = 3;
};

/// As plan_conv1d_wgmma_shared() says.
/// @param adjoins  tiles that overlap do so only from block to block
template <typename T>
Conv1dWgmmaSharedPlan cut_conv1d_wgmma_shared(const Conv1dProblem& problem, int max_shared_bytes,
                                              int multiprocessors, bool adjoins) {
  static_assert(sizeof(T) == 2);
  using Shape = Conv1dWgmmaSharedShape;
  Conv1dWgmmaSharedPlan plan;
  Conv1dWgmmaSharedParams& p = plan.params;
  p.problem = problem;
  p.correlation = conv1d_correlation(problem);
  const Conv1dCorrelation& correlation = p.correlation;
  if (correlation.taps == 0 || correlation.input_step > Conv1dWgmmaSharedLimits::kMaxInputStep ||
      correlation.residues > Conv1dWgmmaSharedLimits::kMaxResidues) {
    return plan;
  }
  const int run_outputs = correlation.run_outputs();
  p.pass_channels = Shape::kPassColumns / correlation.residues;
  p.channel_chunks = static_cast<int>(round_up(problem.in_channels, Shape::kChunkChannels)) /
                     Shape::kChunkChannels;
  const int64_t slots =
      round_up(problem.out_channels, p.pass_channels) / p.pass_channels * Shape::kPassColumns;
  const bool memory_bound =
      problem.in_channels * correlation.taps <= Conv1dWgmmaLimits::kMemoryBoundProducts;
  // One tap: what a window costs is spread over 256 slots instead of 128. Limited by memory,
  // 16x64x2^20 -> 128 took 2.48 ms, 2.38 with the other kernel.
  const bool wide = correlation.taps == 1;
  // More taps limited by arithmetic: 64x512x801 -> 512, k5 took 0.43 ms, 0.40 with the other
  // kernel.
  // At higher input steps the loads limit: 8x512x31999 -> 512, k3 s2 took 0.88 ms, 0.62 with the
  // other kernel.
  p.aligned_rows = problem.input_strides.channel % (16 / sizeof(T)) == 0;
  const bool many_taps = p.aligned_rows && correlation.taps >= Conv1dWgmmaSharedLimits::kManyTaps &&
                         correlation.input_step == 1;
  const int64_t last_tap = int64_t{correlation.taps - 1} * correlation.tap_step;
  if (wide ? memory_bound || run_outputs > 1 || correlation.input_step > 1
           : !(memory_bound || many_taps) ||
                 last_tap > Conv1dWgmmaSharedLimits::kMaxReach * correlation.input_step) {
    return plan;
  }
  // Output rows that begin anywhere in a 32-byte sector: tiles overlap by one, as rows are stored.
  constexpr int kSector = 32 / sizeof(T);
  const int overlap =
      output_rows_begin_on<T>(problem, kSector) || !memory_bound ? 0 : kSector / run_outputs;
  p.aligned_output = output_rows_begin_on<T>(problem, kSector / 2);
  p.even_output = output_rows_begin_on<T>(problem, 2) && run_outputs == 1;
  p.adjoins = adjoins && overlap > 0;
  const auto cut = [&](int block_slots) {
    plan.block_slots = block_slots;
    p.n_blocks = static_cast<int>(round_up(slots, block_slots) / block_slots);
    const int positions = warpgroup_tiles_m(block_slots) * 64;
    // Half of the way from a tile to the next.
    p.warpgroup_step = positions - (p.adjoins ? overlap / 2 : overlap);
    p.second_run = p.adjoins ? positions : p.warpgroup_step;
    p.tile_runs = p.second_run + positions;
    const int64_t tile_runs = int64_t{Shape::kWarpgroups} * p.warpgroup_step;
    p.tiles = static_cast<int>(round_up(correlation.positions, tile_runs) / tile_runs);
    p.all_tiles = problem.batch * p.tiles;
    return p.all_tiles * problem.groups * p.n_blocks;  // the tiles of all blocks
  };
  if (wide || slots > 64) {
    cut(wide ? 256 : 128);
  } else {
    // Few slots have tiles of twice the positions, half of the fixed costs, where the
    // multiprocessors come out as even with them.
    const int64_t rounds = (cut(128) - 1) / multiprocessors + 1;
    const int64_t large = cut(slots > 32 ? 64 : 32);
    if (large < multiprocessors || ((large - 1) / multiprocessors + 1) * 2 > rounds + rounds / 8) {
      cut(128);
    }
  }
  const int positions = warpgroup_tiles_m(plan.block_slots) * 64;
  const int64_t tile_runs = int64_t{Shape::kWarpgroups} * p.warpgroup_step;
  const int64_t tiles = p.all_tiles;
  p.segments = 1;
  const int64_t grid_y = problem.groups * p.n_blocks;
  // Blocks for every multiprocessor, or the other kernel splits the reduction; wide ones for two
  // rounds, and not half empty.
  if (tiles * grid_y < (wide ? 2 : 1) * multiprocessors ||
      (wide && p.n_blocks * 256 > slots + slots / 4)) {
    return plan;
  }

  p.slab_pitch = shared_slab_pitch(positions, correlation.residues);
  p.slab_bytes = Shape::kPassChannels * p.slab_pitch * static_cast<int>(sizeof(T));
  const int64_t tap_bytes = int64_t{plan.block_slots} * 32;
  const int64_t resident = p.channel_chunks * correlation.taps * tap_bytes;
  plan.packed_bytes = grid_y * resident;
  // The last position read, padded tiles included, must fit 32 bits.
  if (plan.packed_bytes > Conv1dWgmmaLimits::kMaxPackedBytes || grid_y > 65535 ||
      last_position_read(correlation, p.tiles * tile_runs + positions) >
          std::numeric_limits<int32_t>::max()) {
    return plan;
  }
  const auto fit = [&](bool keep, int64_t taps, int slabs, int channels, int64_t windows) {
    const int64_t weights = keep ? 0 : channels / Shape::kChunkChannels * taps * tap_bytes;
    const int64_t fixed = (keep ? resident : 0) +
                          int64_t{Shape::kWarpgroups} * slabs * p.slab_bytes +
                          plan.block_slots * 8 + Shape::kBarrierBytes + Shape::kFlagBytes;
    const int bytes =
        fit_operand_stages<T, Shape>(&p, taps, channels, windows, fixed, weights, max_shared_bytes);
    if (bytes == 0) {
      return false;
    }
    p.resident_bytes = keep ? static_cast<int>(resident) : 0;
    p.slabs = slabs;
    plan.shared_bytes = bytes;
    return true;
  };
  // As many taps a step as fit, for a wider window serves more products; then buffers enough for
  // loads, products and stores to overlap. Large slabs and windows hold twice as much.
  // Where arithmetic is the limit a window serves all taps: 16x64x16000 -> 128, k11 took 0.34 ms
  // with a tap a step, 0.13 with the other kernel.
  const int64_t least_taps = wide || memory_bound ? 1 : correlation.taps;
  const bool large = plan.block_slots <= 64, boxes = memory_bound && p.aligned_rows;
  const int fixed = fixed_slabs(plan.block_slots, correlation.residues),
            few = fixed > 0 ? fixed : 2;
  fit_weights(
      plan, true,
      [&](bool keep) {
        for (int64_t taps = correlation.taps; taps >= least_taps;
             taps = taps == 1 ? 0 : (taps + 1) / 2) {
          if ((!large && fit(keep, taps, 4, 32, 3)) ||
              ((large || correlation.input_step > 1 || boxes) && correlation.residues == 1 &&
               fit(keep, taps, 4, 32, 2)) ||
              (large ? fit(keep, taps, 2, 32, 2) || fit(keep, taps, 2, 16, 4)
                     : fit(keep, taps, 4, 16, 3) || fit(keep, taps, few, 32, 2)) ||
              fit(keep, taps, few, 16, 2)) {
            return true;
          }
        }
        return false;
      },
      Conv1dWgmmaSharedLimits::kWindowCost);
  map_conv1d_windows<T>(&p);
  // The stages of a tile stay until the second warpgroup has had its turn. With an activation the
  // two are faster side by side, for they share its instructions as they are fetched. With boxes
  // turns gain nothing.
  const int64_t steps = (problem.in_channels + p.stage_channels - 1) /
                        std::max(p.stage_channels, 1) *
                        ((correlation.taps + p.taps_per_step - 1) / std::max(p.taps_per_step, 1));
  p.takes_turns = memory_bound && problem.activation == Activation::kNone && p.map_elements == 0 &&
                  steps < p.operand_stages;
  plan.grid_x =
      static_cast<unsigned>(std::clamp<int64_t>(multiprocessors / grid_y, 1, tiles));  // one wave
  plan.grid_y = static_cast<unsigned>(grid_y);
  return plan;
}

/// Plans a problem of a 16-bit type within 32-bit positions with rows that run along the length.
/// `fits` is false too where the other kernel is faster.
template <typename T>
Conv1dWgmmaSharedPlan plan_conv1d_wgmma_shared(const Conv1dProblem& problem, int max_shared_bytes,
                                               int multiprocessors) {
  const auto cut = [&](bool adjoins) {
    return cut_conv1d_wgmma_shared<T>(problem, max_shared_bytes, multiprocessors, adjoins);
  };
  const Conv1dWgmmaSharedPlan plan = cut(false);
  // What an activation costs is paid for every tile. Warpgroups that take turns share no slabs. The
  // longer windows must leave room for stages.
  const Conv1dCorrelation& correlation = plan.params.correlation;
  if (plan.fits && (problem.activation != Activation::kNone || plan.params.map_elements > 0) &&
      correlation.run_outputs() == 1 && correlation.input_step == 1) {
    const Conv1dWgmmaSharedPlan adjoining = cut(true);
    if (adjoining.fits && !adjoining.params.takes_turns &&
        adjoining.params.tiles < plan.params.tiles &&
        adjoining.params.operand_stages >= Conv1dWgmmaSharedLimits::kLeastStages) {
      return adjoining;
    }
  }
  return plan;
}

}  // namespace kernelopt
