// How a convolution is cut for conv1d_wgmma_packed_kernel. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_packed_params.h"
#include "conv1d/conv1d_wgmma_plan.h"

#include <numeric>

namespace kernelopt {

struct Conv1dWgmmaPackedPlan : Conv1dWgmmaLaunch {
  using Shape = Conv1dWgmmaPackedShape;
  int64_t input_bytes = 0;  // of the packed input
  double cost = 0;          // in nanoseconds, where it was chosen
  Conv1dWgmmaPackedParams params{};
};

/// Plans a problem within 32-bit positions with rows that run along the length.
/// @param splits  blocks that share a sum over the channels, at most
template <typename T>
Conv1dWgmmaPackedPlan plan_conv1d_wgmma_packed(const Conv1dProblem& problem, int max_shared_bytes,
                                               int block_slots, int64_t splits) {
  using Shape = Conv1dWgmmaPackedShape;
  using Joined = Conv1dWgmmaJoinedShape;
  Conv1dWgmmaPackedPlan plan;
  Conv1dWgmmaPackedParams& p = plan.params;
  describe_shifted<T>(problem, false, &p);
  const Conv1dCorrelation& correlation = p.correlation;
  if (correlation.taps == 0) {
    return plan;
  }
  const int residues = correlation.residues;
  const int64_t step = correlation.input_step;
  p.pass_channels = Conv1dWgmmaShape::kPassColumns / residues;
  p.channel_blocks = static_cast<int>(
      divide_up(problem.in_channels, kPackedChunks<T> * Conv1dWgmmaShape::kChunkChannels));
  p.channel_chunks = p.channel_blocks * kPackedChunks<T>;
  const int64_t slots =
      divide_up(problem.out_channels, p.pass_channels) * Conv1dWgmmaShape::kPassColumns;

  const auto aligned_rows = [&](int64_t elements) {
    return reinterpret_cast<uintptr_t>(problem.output) % (elements * sizeof(T)) == 0 &&
           problem.output_strides.channel % elements == 0 &&
           problem.output_strides.batch % elements == 0;
  };
  // Sums of splits have aligned rows of their own.
  p.split_blocks = static_cast<int>(divide_up(p.channel_blocks, splits));
  plan.splits = static_cast<unsigned>(divide_up(p.channel_blocks, p.split_blocks));
  const bool split = plan.splits > 1;
  p.store_elements = split || aligned_rows(Joined::kStoreElements) ? Joined::kStoreElements : 1;
  p.sums_lead = split ? 0 : (p.store_elements - p.run_shift % p.store_elements) % p.store_elements;
  // An entry's rows: of its runs; of its input; and those behind it that its last run reads, of
  // which the next entry's first ones are zeros.
  const int64_t lead = std::max(0, -correlation.input_first);
  const int64_t reach = int64_t{correlation.taps - 1} * correlation.tap_step;
  const int64_t read = ((correlation.positions - 1) * step + reach) / step + 1;
  const int64_t held = divide_up(problem.in_length - correlation.input_first, step);
  const int64_t entry_runs =
      round_up(std::max({int64_t{correlation.positions}, held, read - lead / step}),
               p.store_elements / std::gcd(p.store_elements, residues));
  const int64_t rows = problem.batch * entry_runs, tiles = divide_up(rows, Joined::kRuns);
  const int64_t planes = problem.groups * p.channel_blocks * step;
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max() / 2;
  if (tiles * Joined::kRuns * residues > kLimit || entry_runs * step > kLimit || planes > 65535) {
    return plan;
  }
  p.tap_period = static_cast<int>(step / std::gcd(step, int64_t{correlation.tap_step}));
  p.entry_runs = static_cast<int>(entry_runs);
  p.rows = static_cast<int>(rows);
  const int64_t window_rows = Joined::kRuns + round_up(reach / step, 8);
  p.shares_window = window_rows <= Shape::kMaxBoxRows;
  p.window_bytes =
      (p.shares_window ? static_cast<int>(window_rows) : Joined::kRuns) * Shape::kBlockBytes;
  plan.input_bytes = planes * rows * Shape::kBlockBytes;

  plan.block_slots = block_slots;
  p.n_blocks = static_cast<int>(divide_up(slots, block_slots));
  const int64_t grid_y = problem.groups * p.n_blocks;
  const int weight_bytes = block_slots * Shape::kBlockBytes;
  plan.packed_bytes = grid_y * p.channel_blocks * correlation.taps * weight_bytes;
  if (plan.packed_bytes + plan.input_bytes > Conv1dWgmmaLimits::kMaxPackedBytes || grid_y > 65535) {
    return plan;
  }
  if (split) {
    p.split_pitch = static_cast<int>(round_up(p.problem.out_length, 4));
    plan.sums_bytes = plan.splits * problem.batch * problem.groups * problem.out_channels *
                      p.split_pitch * int64_t{sizeof(float)};
  }
  p.sums_pitch = static_cast<int>(round_up(Joined::kRuns * residues, 32)) + 8;
  const int64_t sums =
      int64_t{block_slots / Conv1dWgmmaShape::kPassColumns} * p.pass_channels * p.sums_pitch * 4;
  // Two blocks a multiprocessor. A window serves the taps of its residue, each with weights of
  // their own.
  constexpr int kBlockReserve = 1024;
  const int64_t budget =
      (max_shared_bytes - kBlockReserve) / 2 - block_slots * 4 - Shape::kBarrierBytes;
  p.stages = p.shares_window && correlation.taps > 2 * step ? 2 : 3;
  p.weight_stages = static_cast<int>(std::min<int64_t>(
      (budget - p.stages * p.window_bytes) / weight_bytes, Shape::kMaxWeightStages));
  const int64_t ring = int64_t{p.stages} * p.window_bytes + p.weight_stages * weight_bytes;
  if (p.weight_stages < 2 || sums > budget) {
    return plan;
  }
  p.biases_offset = static_cast<int>(std::max(ring, sums));
  plan.shared_bytes = p.biases_offset + block_slots * 4 + Shape::kBarrierBytes;
  plan.grid_x = static_cast<unsigned>(tiles);
  plan.grid_y = static_cast<unsigned>(grid_y);
  plan.fits = true;
  return plan;
}

/// The map of the windows in the packed input. False where the driver refuses it.
inline bool encode_packed_input_map(Conv1dWgmmaPackedParams* params) {
  using Shape = Conv1dWgmmaPackedShape;
  const Conv1dWgmmaPackedParams& p = *params;
  const uint64_t planes =
      static_cast<uint64_t>(p.problem.groups) * p.channel_blocks * p.correlation.input_step;
  const uint64_t plane_bytes = static_cast<uint64_t>(p.rows) * Shape::kBlockBytes;
  const TensorMapShape shape{
      2,
      {Shape::kBlockElements, static_cast<uint64_t>(p.rows), planes, 1},
      {Shape::kBlockBytes, plane_bytes, planes * plane_bytes},
      {Shape::kBlockElements, static_cast<uint32_t>(p.window_bytes / Shape::kBlockBytes), 1, 1},
      true};
  return encode_tensor_map(shape, p.packed_input, &params->input_map);
}

}  // namespace kernelopt
