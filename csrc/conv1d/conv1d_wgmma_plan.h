// How a convolution is cut for the warpgroup kernel: slots of a block, taps of a step, what stays
// in shared memory. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_correlation.h"
#include "conv1d/conv1d_wgmma_cut.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace kernelopt {

struct Conv1dWgmmaPlan : Conv1dWgmmaLaunch {
  using Shape = Conv1dWgmmaShape;
  double cost = 0;  // of the cut
  Conv1dWgmmaParams params{};
};

/// Plans a problem within 32-bit positions (fits_32_bits) with rows that run along the length.
/// @param spreads        whether the correlation may be spread
/// @param may_be_ragged  whether tiles may share vectors of the output
/// @param may_box        whether windows may be copied as boxes
template <typename T>
Conv1dWgmmaPlan plan_conv1d_wgmma(const Conv1dProblem& original, int max_shared_bytes,
                                  int multiprocessors, bool spreads = true,
                                  bool may_be_ragged = true, bool may_box = true) {
  using Shape = Conv1dWgmmaShape;
  using Limits = Conv1dWgmmaLimits;
  constexpr int kParts = MmaTraits<T>::kParts;
  Conv1dWgmmaPlan plan;
  Conv1dWgmmaParams& p = plan.params;
  describe_correlation<T>(original, spreads, &p);
  if (p.correlation.taps == 0) {
    describe_skewed<T>(original, &p);
  }
  if (p.correlation.taps == 0) {
    return plan;
  }
  const Conv1dProblem& problem = p.problem;
  const Conv1dCorrelation& correlation = p.correlation;
  p.input_end = conv1d_input_end<T>(problem);
  p.pass_channels = Shape::kPassColumns / correlation.residues;
  p.channel_chunks = static_cast<int>(round_up(problem.in_channels, Shape::kChunkChannels)) /
                     Shape::kChunkChannels;
  const int64_t slots =
      round_up(problem.out_channels, p.pass_channels) / p.pass_channels * Shape::kPassColumns;

  // Output rows that begin anywhere in a 32-byte sector: tiles share the vectors between them, or
  // overlap.
  constexpr int64_t kSector = 32 / sizeof(T);
  const bool skewed = p.skew_outputs > 0;
  const bool aligned = !skewed && output_rows_begin_on<T>(problem, kSector);
  const int64_t overlapping_step = overlapping_tile_step<T>(p);
  // 76 took 2.72 ms in bfloat16 with tiles that overlap, 3.55 with shared vectors.
  const bool memory_bound = sizeof(T) == 2 && problem.in_channels * correlation.taps <=
                                                  Conv1dWgmmaLimits::kMemoryBoundProducts;
  const bool shares_vectors =
      may_be_ragged && !memory_bound && correlation.run_outputs() == 1 &&
      row_tiles(correlation, Shape::kWarpgroupM) < row_tiles(correlation, overlapping_step);

  // Whole tiles of a batch entry's positions, or tiles made of segments, whose results need the
  // second pass in any case.
  const bool may_be_boxes = may_box && has_boxes<T>(problem, correlation);
  const int64_t full_tile = Shape::kWarpgroups * Shape::kWarpgroupM;
  Conv1dCutProblem whole{slots,
                         p.channel_chunks,
                         correlation.taps,
                         problem.batch * problem.groups * problem.out_channels * problem.out_length,
                         problem.batch * (round_up(correlation.positions, full_tile) / full_tile),
                         may_be_boxes ? Shape::kWarpgroups : Shape::kChunkChannels,
                         false,
                         kParts == 2};
  const int64_t entry_segments =
      round_up(correlation.positions, Shape::kSegmentRuns) / Shape::kSegmentRuns;
  const int64_t all_segments = problem.batch * entry_segments;
  p.copies_images = is_image_batch<T>(problem, correlation);
  Conv1dCutProblem pieced = whole;
  pieced.tiles = round_up(all_segments, Shape::kSegments) / Shape::kSegments;
  pieced.chunk_copies = p.copies_images ? 0
                        : may_be_boxes  ? Shape::kSegments
                                        : Shape::kSegments * Shape::kChunkChannels;
  pieced.two_passes = true;
  whole.tiles *= problem.groups;
  whole.unsplit_tiles = aligned || shares_vectors ? whole.tiles
                                                  : problem.batch * problem.groups *
                                                        row_tiles(correlation, overlapping_step);
  pieced.unsplit_tiles = pieced.tiles *= problem.groups;
  Conv1dCut cut = choose_conv1d_cut(whole, multiprocessors);
  const Conv1dCut pieced_cut = choose_conv1d_cut(pieced, multiprocessors);
  const bool pieces = pieced.tiles < whole.tiles &&
                      pieced_cut.cost < Limits::kPieceGain * cut.cost &&
                      all_segments <= std::numeric_limits<int32_t>::max() / 2;
  if (pieces) {
    cut = pieced_cut;
  }
  p.copies_images &= pieces;
  p.segments = pieces ? Shape::kSegments : 1;
  p.entry_segments = static_cast<int>(entry_segments);
  plan.block_slots = cut.block_slots;
  plan.cost = cut.cost;
  const int64_t splits = cut.splits;
  const bool second_pass = pieces || splits > 1;
  if (second_pass && skewed) {
    return plan;
  }
  if (second_pass && correlation.spread > 1) {
    return plan_conv1d_wgmma<T>(original, max_shared_bytes, multiprocessors, false, may_be_ragged,
                                may_box);
  }
  p.n_blocks = static_cast<int>(divide_up(slots, plan.block_slots));
  p.block_passes = static_cast<int>(divide_up(slots / Shape::kPassColumns, p.n_blocks));

  // Sums of splits have aligned rows of their own.
  const bool may_overlap = !aligned && !second_pass;
  p.ragged = may_overlap && shares_vectors;
  p.warpgroup_step =
      may_overlap && !p.ragged ? static_cast<int>(overlapping_step) : Shape::kWarpgroupM;
  const int64_t block_runs = int64_t{Shape::kWarpgroups} * p.warpgroup_step;
  p.tiles = static_cast<int>(row_tiles(correlation, p.warpgroup_step));

  p.all_tiles = pieces ? pieced.tiles / problem.groups : problem.batch * p.tiles;

  // The last position read, padded tiles included, must fit 32 bits.
  if (last_position_read(correlation, p.tiles * block_runs + Shape::kWarpgroupM) >
      std::numeric_limits<int32_t>::max()) {
    return plan;
  }

  p.slab_pitch = slab_row_pitch<T>(correlation.residues) +
                 static_cast<int>(round_up(p.skew_outputs, 32));  // in the same banks
  p.slab_bytes = static_cast<int>(round_up(p.pass_channels * p.slab_pitch * 4, 16));
  const int64_t tap_bytes = int64_t{plan.block_slots} * 32 * kParts;
  const int64_t resident = p.channel_chunks * correlation.taps * tap_bytes;
  const int64_t grid_y = problem.groups * p.n_blocks;
  plan.packed_bytes = grid_y * resident;
  const int64_t split_chunks = divide_up(p.channel_chunks, splits);
  if (plan.packed_bytes > Limits::kMaxPackedBytes || grid_y > 65535) {
    return plan;
  }
  const bool boxes = may_be_boxes && !p.copies_images;
  const auto fit = [&](bool keep, int64_t taps, int slabs, int channels, int min_stages) {
    const int64_t fixed = int64_t{Shape::kWarpgroups} * slabs * p.slab_bytes +
                          plan.block_slots * 8 + Shape::kBarrierBytes;
    const int64_t runs =
        pieces ? Shape::kSegmentRuns
               : int64_t{Shape::kWarpgroups - 1} * p.warpgroup_step + Shape::kWarpgroupM;
    const int64_t length =
        (runs - 1) * correlation.input_step + (taps - 1) * correlation.tap_step + 1;
    // Rows begin at their own place in 16 bytes. A pitch of 4 words modulo 16 puts the four rows
    // that a fragment reads at once in different banks.
    const int64_t bytes = round_up(length * static_cast<int64_t>(sizeof(T)) + 16, 16);
    const int64_t pitch =
        boxes ? box_pitch<T>(correlation, taps, pieces ? Shape::kSegmentRuns : Shape::kWarpgroupM)
        : p.copies_images ? problem.in_length * int64_t{sizeof(T)}
                          : round_up(p.segments * bytes - 16, 64) + 16;
    const int64_t image = round_up(channels * pitch, 16);
    const int64_t images = pieces && (boxes || p.copies_images) ? p.segments
                           : boxes                              ? Shape::kWarpgroups
                                                                : 1;
    const int64_t window = images * image;
    const int64_t weights = keep ? 0 : channels / Shape::kChunkChannels * taps * tap_bytes;
    const int64_t kept = keep ? std::min(round_up(split_chunks, channels / Shape::kChunkChannels),
                                         int64_t{p.channel_chunks}) *
                                    correlation.taps * tap_bytes
                              : 0;
    const int64_t left = max_shared_bytes - fixed - kept;
    const int64_t stages = std::min<int64_t>(left / (window + weights), Shape::kMaxStages);
    if (left < 0 || stages < min_stages) {
      return false;
    }
    p.stage_channels = channels;
    p.taps_per_step = static_cast<int>(taps);
    p.window_pitch = static_cast<int>(pitch);
    p.window_bytes = static_cast<int>(window);
    p.segment_bytes = static_cast<int>(boxes || p.copies_images ? image : bytes);
    p.box_bytes = boxes ? static_cast<int>(image) : 0;
    p.step_weight_bytes = static_cast<int>(weights);
    p.resident_bytes = static_cast<int>(kept);
    p.stages = static_cast<int>(stages);
    p.slabs = slabs;
    plan.shared_bytes = static_cast<int>(kept + stages * (window + weights) + fixed);
    return true;
  };
  plan.grid_x = static_cast<unsigned>(
      std::clamp<int64_t>(multiprocessors / grid_y, 1, p.all_tiles));  // one wave
  // As many taps a step as fit, for a wider window serves more products; then buffers enough for
  // loads, products and stores to overlap. A block of one tile reads its weights once.
  const int64_t block_packs =
      split_chunks * 2 * plan.block_slots * divide_up(correlation.taps, kPackedAtOnce);
  p.packs_weights =
      block_packs <= (problem.transposed ? Limits::kMaxTransposedPacks : Limits::kMaxBlockPacks);
  fit_weights(plan, plan.grid_x < p.all_tiles || p.packs_weights, [&](bool keep) {
    for (int64_t taps = correlation.taps; taps >= 1; taps = taps == 1 ? 0 : (taps + 1) / 2) {
      const auto fit_channels = [&](int slabs, int min_stages) {
        return (split_chunks > 1 && fit(keep, taps, slabs, 32, min_stages)) ||
               fit(keep, taps, slabs, 16, min_stages);
      };
      if (fit_channels(4, 3) || fit_channels(2, 2)) {
        return true;
      }
    }
    return false;
  });
  if (p.ragged && (!plan.fits || p.taps_per_step < correlation.taps ||
                   (p.resident_bytes == 0 && plan.grid_x < p.all_tiles))) {
    // The windows of tiles that overlap are a little shorter.
    const Conv1dWgmmaPlan other =
        plan_conv1d_wgmma<T>(original, max_shared_bytes, multiprocessors, spreads, false, may_box);
    if (other.fits && (!plan.fits || loaded_bytes(other.params) < loaded_bytes(p))) {
      return other;
    }
  }
  if (!plan.fits) {
    return plan;
  }
  p.packs_weights &= p.resident_bytes > 0;
  if (p.packs_weights) {
    plan.packed_bytes = 0;
  }
  // What is left takes slabs, so that the products of a tile wait less for the stores of the last.
  const int slab_set = Shape::kWarpgroups * p.slab_bytes;
  const int more_slabs =
      std::min((max_shared_bytes - plan.shared_bytes) / slab_set, Shape::kMaxSlabs - p.slabs);
  p.slabs += more_slabs;
  plan.shared_bytes += more_slabs * slab_set;
  p.split_channels =
      static_cast<int>(round_up(split_chunks * Shape::kChunkChannels, p.stage_channels));
  plan.splits =
      static_cast<unsigned>((problem.in_channels + p.split_channels - 1) / p.split_channels);
  p.split_pitch = static_cast<int>(round_up(problem.out_length, 4));
  if (second_pass) {
    plan.sums_bytes = plan.splits * problem.batch * problem.groups * problem.out_channels *
                      p.split_pitch * int64_t{sizeof(float)};
  }
  plan.grid_y = static_cast<unsigned>(grid_y);
  p.box_step = boxes ? p.warpgroup_step : 0;
  p.warpgroup_bytes =
      boxes ? p.box_bytes : p.warpgroup_step * correlation.input_step * static_cast<int>(sizeof(T));
  if (boxes && !encode_input_map<T>(&p)) {
    return plan_conv1d_wgmma<T>(original, max_shared_bytes, multiprocessors, spreads, may_be_ragged,
                                false);
  }
  return plan;
}

}  // namespace kernelopt
