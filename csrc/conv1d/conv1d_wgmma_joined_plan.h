// How a transposed convolution is cut for conv1d_wgmma_joined_kernel. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_joined_params.h"
#include "conv1d/conv1d_wgmma_plan.h"

#include <numeric>

namespace kernelopt {

struct Conv1dWgmmaJoinedPlan : Conv1dWgmmaLaunch {
  using Shape = Conv1dWgmmaJoinedShape;
  double cost = 0;  // in nanoseconds, where it was chosen
  Conv1dWgmmaJoinedParams params{};
};

/// Plans a transposed problem with a stride within 32-bit positions with rows that run along the
/// length.
template <typename T>
Conv1dWgmmaJoinedPlan plan_conv1d_wgmma_joined(const Conv1dProblem& problem, int max_shared_bytes,
                                               int block_slots) {
  using Shape = Conv1dWgmmaJoinedShape;
  constexpr int64_t kSize = sizeof(T);
  Conv1dWgmmaJoinedPlan plan;
  Conv1dWgmmaJoinedParams& p = plan.params;
  if (!problem.transposed || problem.stride == 1) {
    return plan;
  }
  describe_shifted<T>(problem, false, &p);
  const Conv1dCorrelation& correlation = p.correlation;
  if (correlation.taps == 0) {
    return plan;
  }
  const int residues = correlation.residues;
  p.pass_channels = Conv1dWgmmaShape::kPassColumns / residues;
  p.channel_chunks =
      static_cast<int>(divide_up(problem.in_channels, Conv1dWgmmaShape::kChunkChannels));
  const int64_t slots =
      divide_up(problem.out_channels, p.pass_channels) * Conv1dWgmmaShape::kPassColumns;

  const int64_t reach = int64_t{correlation.taps - 1} * correlation.tap_step;
  const auto multiples_of = [&](const void* data, const Strides1d& strides, int64_t elements) {
    return reinterpret_cast<uintptr_t>(data) % (elements * kSize) == 0 &&
           strides.channel % elements == 0 && strides.batch % elements == 0;
  };
  const bool stores_vectors =
      multiples_of(problem.output, problem.output_strides, Shape::kStoreElements);
  p.store_elements = stores_vectors ? Shape::kStoreElements : 1;
  const int64_t store_runs = p.store_elements / std::gcd(p.store_elements, residues);
  // An entry's window begins and ends at whole copies.
  const auto join = [&](int64_t elements) {
    p.copy_elements = static_cast<int>(elements);
    p.window_lead = static_cast<int>(((correlation.input_first % elements) + elements) % elements);
    const int64_t runs =
        round_up(correlation.positions + reach + p.window_lead, std::max(elements, store_runs));
    p.entry_runs = static_cast<int>(std::min<int64_t>(runs, std::numeric_limits<int32_t>::max()));
    return divide_up(problem.batch * runs, Shape::kRuns);
  };
  const int64_t least_tiles = join(1);
  int64_t tiles = least_tiles;
  for (int64_t elements = 16 / kSize; elements > 1; elements /= 2) {
    if (problem.in_length % elements == 0 &&
        multiples_of(problem.input, problem.input_strides, elements) &&
        join(elements) <= least_tiles + least_tiles / 8) {
      tiles = join(elements);
      break;
    }
    tiles = join(1);
  }
  // Single elements of 16 bits are no asynchronous copies: 4x512x803 -> 256, k16 s8 took 0.22 ms,
  // 0.08 with the other kernel.
  if (p.copy_elements * kSize < 4) {
    return plan;
  }
  if (tiles * Shape::kRuns * residues > std::numeric_limits<int32_t>::max() / 2) {
    return plan;
  }

  plan.block_slots = block_slots;
  p.n_blocks = static_cast<int>(divide_up(slots, block_slots));
  const int64_t grid_y = problem.groups * p.n_blocks;
  const int64_t tap_bytes = int64_t{block_slots} * 32 * MmaTraits<T>::kParts;
  plan.packed_bytes = grid_y * p.channel_chunks * correlation.taps * tap_bytes;
  if (plan.packed_bytes > Conv1dWgmmaLimits::kMaxPackedBytes || grid_y > 65535) {
    return plan;
  }

  const int64_t window = Shape::kRuns + reach + p.window_lead;
  p.window_copies = static_cast<int>(divide_up(window, p.copy_elements));
  // A pitch of 4 words modulo 16 puts the rows that a fragment reads at once in different banks.
  const int64_t pitch = round_up(p.window_copies * p.copy_elements * kSize - 16, 64) + 16;
  p.window_pitch = static_cast<int>(pitch);
  p.sums_lead = (p.store_elements - p.run_shift % p.store_elements) % p.store_elements;
  p.sums_pitch = static_cast<int>(round_up(Shape::kRuns * residues, 32)) + 8;
  const int64_t sums =
      int64_t{block_slots / Conv1dWgmmaShape::kPassColumns} * p.pass_channels * p.sums_pitch * 4;
  const int64_t fixed = block_slots * 4 + p.window_copies * 8 + Shape::kStages * 8;
  const auto fit = [&](int64_t channels, int64_t most) {
    const int64_t window_bytes = round_up(channels * pitch, 128);
    const int64_t weights =
        channels / Conv1dWgmmaShape::kChunkChannels * correlation.taps * tap_bytes;
    const int64_t stages = std::max(Shape::kStages * (window_bytes + weights), sums);
    if (stages + fixed > most) {
      return false;
    }
    p.biases_offset = static_cast<int>(stages);
    p.stage_channels = static_cast<int>(channels);
    p.window_bytes = static_cast<int>(window_bytes);
    p.step_weight_bytes = static_cast<int>(weights);
    plan.shared_bytes = static_cast<int>(stages + fixed);
    return true;
  };
  // Two blocks a multiprocessor, so that one multiplies while the other waits or stores.
  constexpr int kBlockReserve = 1024;
  for (const int64_t most :
       {int64_t{max_shared_bytes - kBlockReserve} / 2, int64_t{max_shared_bytes}}) {
    for (int64_t channels = 64; channels >= 16; channels /= 2) {
      plan.fits =
          plan.fits || (channels < 2 * round_up(problem.in_channels, 16) && fit(channels, most));
    }
  }
  plan.grid_x = static_cast<unsigned>(tiles);
  plan.grid_y = static_cast<unsigned>(grid_y);
  return plan;
}

/// What a launch takes, in nanoseconds; fitted as conv1d_wgmma_packed_policy.h says.
struct Conv1dJoinedCost {
  int resident;    // blocks of a multiprocessor, at most
  double product;  // of 16 channels and a tap, in all of them
  double chunk;    // at least, of 16 channels, whose window is copied
  double block;    // of their start and end

  static constexpr Conv1dJoinedCost of(int block_slots, bool two_parts) {
    return block_slots == 128  ? (two_parts ? Conv1dJoinedCost{2, 660, 590, 3350}
                                            : Conv1dJoinedCost{2, 370, 270, 4800})
           : block_slots == 64 ? (two_parts ? Conv1dJoinedCost{2, 415, 430, 3300}
                                            : Conv1dJoinedCost{2, 280, 285, 3400})
                               : (two_parts ? Conv1dJoinedCost{3, 265, 1000, 1300}
                                            : Conv1dJoinedCost{3, 435, 560, 2150});
  }
  // Of a chunk, in copies of single elements.
  static constexpr double kSingle = 3;
};

/// Plans a problem as above with the fastest number of slots.
template <typename T>
Conv1dWgmmaJoinedPlan choose_conv1d_wgmma_joined(const Conv1dProblem& problem, int max_shared_bytes,
                                                 int multiprocessors) {
  using Cost = Conv1dJoinedCost;
  Conv1dWgmmaJoinedPlan best;
  for (int block_slots = 128; block_slots >= 32; block_slots /= 2) {
    const Conv1dWgmmaJoinedPlan plan =
        plan_conv1d_wgmma_joined<T>(problem, max_shared_bytes, block_slots);
    if (!plan.fits) {
      continue;
    }
    const Conv1dWgmmaJoinedParams& p = plan.params;
    const Cost times = Cost::of(block_slots, MmaTraits<T>::kParts == 2);
    const int64_t resident =
        std::clamp<int64_t>(max_shared_bytes / plan.shared_bytes, 1, times.resident);
    const int64_t waves = divide_up(int64_t{plan.grid_x} * plan.grid_y, multiprocessors * resident);
    const double chunk = std::max(p.correlation.taps * times.product,
                                  times.chunk * (p.copy_elements == 1 ? Cost::kSingle : 1));
    const double cost =
        static_cast<double>(waves) * (static_cast<double>(p.channel_chunks) * chunk + times.block);
    if (!best.fits || cost < best.cost) {
      best = plan;
      best.cost = cost;
    }
  }
  return best;
}

}  // namespace kernelopt
