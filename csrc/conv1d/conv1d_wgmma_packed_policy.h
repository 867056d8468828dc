// How conv1d_wgmma_packed_kernel cuts a convolution, and which it serves. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_joined_plan.h"
#include "conv1d/conv1d_wgmma_packed_plan.h"
#include "conv1d/conv1d_wgmma_shared_plan.h"

namespace kernelopt {

/// What launches take, in nanoseconds; fitted to the times of 320 problems on an H100 in float32
/// and bfloat16, of the packed kernel with 64 and 128 slots and 1 to 12 splits
/// (docs/tuning/conv1d.md).
struct Conv1dPackedCost {
  double start;
  double block;   // of a block's start and end, a round of all multiprocessors
  double wait;    // of a tap of a channel block at least, for what it waits
  double step;    // the same, a round
  double output;  // of a byte of outputs

  static constexpr Conv1dPackedCost of(int block_slots, bool two_parts) {
    return block_slots == 128 ? (two_parts ? Conv1dPackedCost{4700, 1000, 800, 460, 4e-4}
                                           : Conv1dPackedCost{3700, 1000, 620, 320, 7e-4})
                              : (two_parts ? Conv1dPackedCost{2000, 2600, 470, 280, 5e-5}
                                           : Conv1dPackedCost{1600, 2800, 440, 240, 0});
  }
  // Of the packing: at least, a byte of the packed weights, a byte of the input read and written.
  static constexpr double kPack = 5300, kWeightByte = 1e-3, kInputByte = 4e-4;
  // Of the second pass, and a byte of sums; of short rows that begin inside a vector of sums:
  // transposed 256x256x8 -> 256, k4 s2 p1 took 0.046 ms with two splits, 0.020 with one.
  static constexpr double kSplit = 1000, kSumByte = 4.5e-4, kShortSumByte = 2.5e-3;
  static constexpr int64_t kShortRow = 64;
  // Products below which no time is spent on plans. Counted.
  static constexpr double kMinProducts = 1 << 27;
  // Of the others' time: below it this kernel serves, which takes memory for its operands.
  static constexpr double kGain = 0.95;
};

/// What the other kernels take: their launches with the packing, a part of what their own cost
/// models count, a byte of packed weights, of input and output, and of outputs besides that are
/// stored one by one.
struct Conv1dOtherCost {
  double launch, cost, weight_byte, byte, single_byte;

  double of(const Conv1dProblem& problem, int64_t element_bytes, double counted,
            int64_t packed_bytes) const {
    const double rows = static_cast<double>(problem.batch * problem.groups * element_bytes);
    const double output_bytes = rows * problem.out_channels * problem.out_length;
    const double bytes = output_bytes + rows * problem.in_channels * problem.in_length;
    const bool single = problem.output_strides.channel % 4 != 0;
    return launch + cost * counted + weight_byte * static_cast<double>(packed_bytes) +
           byte * bytes + (single ? single_byte * output_bytes : 0);
  }
};
constexpr Conv1dOtherCost kFragmentsCost{8900, 0.97, 8e-4, 1.3e-4, 4e-4};
constexpr Conv1dOtherCost kJoinedCost{6400, 0.72, 2e-3, 3e-4, 0};
// Counted: products of a chunk and a tap with a tile.
constexpr Conv1dOtherCost kSharedCost{11000, 140, 0, 3.4e-4, 9e-4};
constexpr Conv1dOtherCost kSharedWideCost{11000, 370, 0, 3.4e-4, 9e-4};  // of 256 slots
constexpr Conv1dOtherCost kSharedResiduesCost{14000, 330, 0, 1e-4, 1e-3};

template <typename T>
double conv1d_packed_cost(const Conv1dWgmmaPackedPlan& plan, int multiprocessors) {
  using Cost = Conv1dPackedCost;
  const Conv1dWgmmaPackedParams& p = plan.params;
  const Conv1dProblem& problem = p.problem;
  const Cost cost = Cost::of(plan.block_slots, MmaTraits<T>::kParts == 2);
  const int64_t blocks = int64_t{plan.grid_x} * plan.grid_y * plan.splits;
  const double steps = static_cast<double>(p.split_blocks) * p.correlation.taps;
  // Blocks of a multiprocessor: between as many as there are on the average and the most.
  const double even = std::max(static_cast<double>(blocks) / multiprocessors, 1.0);
  const double rounds = (even + static_cast<double>(divide_up(blocks, multiprocessors))) / 2;
  const double channels = static_cast<double>(problem.batch * problem.groups);
  const double input_bytes = channels * problem.in_channels * problem.in_length * sizeof(T);
  const double output_bytes = channels * problem.out_channels * problem.out_length * sizeof(T);
  const double sum_byte = p.run_shift > 0 && problem.out_length < Cost::kShortRow
                              ? Cost::kShortSumByte
                              : Cost::kSumByte;
  return Cost::kPack + Cost::kWeightByte * plan.packed_bytes +
         Cost::kInputByte * (input_bytes + plan.input_bytes) + cost.start + rounds * cost.block +
         steps * std::max(cost.wait, rounds * cost.step) + cost.output * output_bytes +
         (plan.splits > 1 ? Cost::kSplit + sum_byte * plan.sums_bytes : 0);
}

/// The cheapest plan; `fits` is false where there is none.
template <typename T>
Conv1dWgmmaPackedPlan cut_conv1d_wgmma_packed(const Conv1dProblem& problem, int max_shared_bytes,
                                              int multiprocessors) {
  Conv1dWgmmaPackedPlan best;
  const double products = static_cast<double>(problem.batch) * problem.groups *
                          problem.in_channels * problem.out_channels * problem.kernel_size *
                          (problem.transposed ? problem.in_length : problem.out_length);
  if (products < Conv1dPackedCost::kMinProducts) {
    return best;
  }
  double least = std::numeric_limits<double>::infinity();
  for (const int block_slots : {128, 64}) {
    for (const int64_t splits : {1, 2, 3, 4, 6, 8, 12}) {
      const Conv1dWgmmaPackedPlan plan =
          plan_conv1d_wgmma_packed<T>(problem, max_shared_bytes, block_slots, splits);
      if (!plan.fits) {
        continue;
      }
      const int64_t blocks = int64_t{plan.grid_x} * plan.grid_y * plan.splits;
      if (splits > 1 && blocks > 3 * multiprocessors) {
        break;
      }
      const double cost = conv1d_packed_cost<T>(plan, multiprocessors);
      if (cost < least) {
        least = cost;
        best = plan;
        best.cost = cost;
      }
    }
  }
  return best;
}

/// What a plan of the other kernels takes.
template <typename T>
double conv1d_wgmma_cost(const Conv1dWgmmaPlan& plan) {
  if (!plan.fits) {
    return std::numeric_limits<double>::infinity();
  }
  const Conv1dCorrelation& correlation = plan.params.correlation;
  // Windows of high strides in float32: 8x128x8378 -> 256, k8 s4 took 0.133 ms, counted were 0.068.
  constexpr double kWideWindows = 1.5;
  const double slower = correlation.residues == 1
                            ? (sizeof(T) == 4 && correlation.input_step >= 4 ? kWideWindows : 1)
                        : plan.params.run_shift > 0 ? Conv1dJoinedCost::kOtherShifted
                                                    : Conv1dJoinedCost::kOther;
  return kFragmentsCost.of(plan.params.problem, sizeof(T), slower * plan.cost, plan.packed_bytes);
}
template <typename T>
double conv1d_wgmma_cost(const Conv1dWgmmaJoinedPlan& plan) {
  return kJoinedCost.of(plan.params.problem, sizeof(T), plan.cost, plan.packed_bytes);
}
template <typename T>
double conv1d_wgmma_cost(const Conv1dWgmmaSharedPlan& plan) {
  const Conv1dWgmmaSharedParams& p = plan.params;
  const double products = static_cast<double>(divide_up(p.all_tiles, plan.grid_x)) *
                          p.channel_chunks * p.correlation.taps;
  const Conv1dOtherCost& cost = p.correlation.residues > 1 ? kSharedResiduesCost
                                : plan.block_slots > 128   ? kSharedWideCost
                                                           : kSharedCost;
  return cost.of(p.problem, sizeof(T), products, plan.packed_bytes);
}

}  // namespace kernelopt
