// How conv1d_wgmma_packed_kernel cuts a convolution, and which it serves. Includes no torch header.
#pragma once

#include "conv1d/conv1d_wgmma_joined_plan.h"
#include "conv1d/conv1d_wgmma_packed_plan.h"
#include "conv1d/conv1d_wgmma_shared_plan.h"

namespace kernelopt {

inline double conv1d_products(const Conv1dProblem& problem) {
  return static_cast<double>(problem.batch) * problem.groups * problem.in_channels *
         problem.out_channels * problem.kernel_size *
         (problem.transposed ? problem.in_length : problem.out_length);
}

/// Whether windows come as pieces, of rows that have no common place in 16 bytes, at single steps.
inline bool is_odd_of_single_steps(const Conv1dWgmmaSharedPlan& plan) {
  const Conv1dWgmmaSharedParams& p = plan.params;
  return !p.aligned_rows && p.correlation.residues == 1 && p.correlation.input_step == 1 &&
         plan.block_slots <= 128;
}

/// What launches take, in nanoseconds. These constants, the others' below and those of the cuts
/// (conv1d_wgmma_cut.h, conv1d_wgmma_joined_plan.h) were fitted together, to 3700 times of 759
/// problems on an H100 in float32 and bfloat16 (docs/tuning/conv1d.md).
struct Conv1dPackedCost {
  double start;
  double block;   // of a block's start and end, a round of all multiprocessors
  double wait;    // of a tap of a channel block at least, for what it waits
  double step;    // the same, a round
  double output;  // of a byte of outputs
  double row;     // of an entry's row of outputs in a block, a round

  static constexpr Conv1dPackedCost of(int block_slots, bool two_parts) {
    return block_slots == 128 ? (two_parts ? Conv1dPackedCost{2950, 1000, 810, 470, 2.75e-4, 2.2}
                                           : Conv1dPackedCost{2800, 715, 585, 370, 5e-4, 2.2})
                              : (two_parts ? Conv1dPackedCost{800, 2000, 455, 260, 4.1e-5, 2.45}
                                           : Conv1dPackedCost{495, 2450, 425, 225, 0, 2.45});
  }
  // Of the packing: at least, a byte of the packed weights, a byte of the input read and written.
  static constexpr double kPack = 5150, kWeightByte = 7.95e-4, kInputByte = 4.25e-4;
  // Of the second pass, and a byte of sums; of short rows that begin inside a vector of sums:
  // transposed 256x256x8 -> 256, k4 s2 p1 took 0.046 ms with two splits, 0.020 with one.
  static constexpr double kSplit = 1650, kSumByte = 3.4e-4, kShortSumByte = 2.5e-3;
  static constexpr int64_t kShortRow = 64;
  // Products below which no time is spent on plans. Counted.
  static constexpr double kMinProducts = 1 << 24;
  // Of the others' time: below it this kernel serves, which takes memory for its operands. Of few
  // products the launches are most of a time, and the costs tell less. Microseconds, bfloat16 /
  // float32, here and with the others: 1x80x301 -> 1024, k5 11.1 and 14.6 / 14.4 and 18.1,
  // transposed 1x192x666 -> 96, k10 s5 12.5 and 18.1 / 14.2 and 17.2, 1x512x99 -> 512, k2 s2 11.5
  // and 14.3 / 12.9 and 15.3. Not: 64x32x128 -> 64, k5 10.9 and 10.1; transposed 64x128x16 -> 128,
  // k4 s2 in float32 13.6 and 12.0.
  static constexpr double kGain = 0.97, kFewProducts = 1 << 27, kFewProductsGain = 0.94;
  // Of one tap, and an input whose copy leaves the cache before it is read, farther: 8x304x16641 ->
  // 256, k1 in bfloat16 took 0.264 ms, 0.207 with fragments; 1x768x196608 -> 768 0.95 and 0.77.
  static constexpr double kOneTapGain = 0.8;
  static constexpr int64_t kCachedBytes = 48 << 20;

  static double gain(const Conv1dWgmmaPackedPlan& plan) {
    return plan.params.correlation.taps == 1 && plan.input_bytes > kCachedBytes ? kOneTapGain
           : conv1d_products(plan.params.problem) < kFewProducts                ? kFewProductsGain
                                                                                : kGain;
  }
  // The same for the fragments' kernel and the joined one beside that with both operands in shared
  // memory, where it copies rows as pieces: 8x64x16757 -> 128, k4 s2 took 0.045 ms, 0.039 with
  // fragments. Of rows with a common place in 16 bytes it is the faster one: 16x64x4096 -> 64, k3
  // 0.015 and 0.019. At single steps, whose costs were fitted apart, many channels cost it more
  // than they say: transposed 16x128x16001 -> 64, k3 0.083, 0.075 with fragments.
  static constexpr double kOtherGain = 0.9, kOddOtherGain = 1.12;

  static double other_gain(const Conv1dWgmmaSharedPlan& plan) {
    return is_odd_of_single_steps(plan) ? kOddOtherGain : kOtherGain;
  }
};

/// What the other kernels take: their launches with the packing, what their own cost models count,
/// a byte of packed weights, of input and output, and of outputs besides that are stored one by
/// one.
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
constexpr Conv1dOtherCost kFragmentsCost{9200, 1, 4.7e-4, 9.45e-5, 1.55e-4};
constexpr Conv1dOtherCost kJoinedCost{3100, 1, 3.1e-3, 3.1e-4, 0};
// Counted: products of a chunk and a tap with a tile. Of single steps, of several; of rows that
// have no common place in 16 bytes, which come as pieces, the same, but of single steps windows of
// a chunk are counted, which cost more than their products; of 256 slots, of residues.
constexpr Conv1dOtherCost kSharedCost{9850, 185, 0, 2.05e-4, 3.9e-4};
constexpr Conv1dOtherCost kSharedStepsCost{13000, 105, 0, 3.9e-4, 6.75e-4};
constexpr Conv1dOtherCost kSharedOddCost{17500, 540, 0, 2.65e-4, 0};
constexpr double kSharedOddRow = 1.05;  // of a row of outputs: 64x80x301 -> 1024, k5 121 us
constexpr Conv1dOtherCost kSharedOddStepsCost{17000, 165, 0, 4.9e-4, 3.65e-4};
constexpr Conv1dOtherCost kSharedWideCost{8750, 515, 0, 1.1e-4, 3.05e-4};
constexpr Conv1dOtherCost kSharedResiduesCost{7850, 300, 0, 6.25e-5, 2.25e-3};

/// What a plan of the fragments' kernel takes, in what choose_conv1d_cut() counts, by what its
/// tiles are made of: segments; residues of shifted runs, of others; windows of larger steps, of
/// large ones (16x128x3000 -> 256, k10 s5 took 0.090 ms in float32, counted 0.062, packed 0.055),
/// of steps. Segments of residues by one problem: transposed 64x512x64 -> 256, k25 s4 took 0.160 ms
/// in float32, 0.195 packed.
template <typename T>
double conv1d_fragments_factor(const Conv1dWgmmaPlan& plan) {
  constexpr bool kTwo = MmaTraits<T>::kParts == 2;
  const Conv1dWgmmaParams& p = plan.params;
  const Conv1dCorrelation& correlation = p.correlation;
  // Rows of segments are copied again for every step of taps: 8x192x5376 -> 384, k8 s4, two taps a
  // step, took 0.177 ms in float32, 0.085 packed.
  double copied = 0;
  if (p.segments > 1 && p.box_bytes == 0 && !p.copies_images) {
    const double copies = p.segments * Conv1dWgmmaShape::kChunkChannels * Conv1dCutCost::kRowCopy;
    const double products = correlation.taps * Conv1dCutCost::product(plan.block_slots, kTwo);
    copied = divide_up(correlation.taps, p.taps_per_step) * copies / std::max(copies, products);
  }
  return p.segments > 1               ? std::max(copied, !kTwo                      ? 1.3
                                                         : correlation.residues > 1 ? 1.33
                                                                                    : 1.45)
         : p.run_shift > 0            ? (kTwo ? 1.35 : 1.25)
         : correlation.residues > 1   ? (kTwo ? 1.4 : 1.25)
         : correlation.input_step > 4 ? (kTwo ? 1.9 : 1.05)
         : correlation.input_step > 3 ? (kTwo ? 1.3 : 1.05)
         : correlation.input_step > 1 ? (kTwo ? 1.35 : 1.05)
                                      : (kTwo ? 1.15 : 0.955);
}

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
  const double rows = static_cast<double>(Conv1dWgmmaJoinedShape::kRuns) / p.entry_runs *
                      plan.block_slots / p.correlation.residues;
  return Cost::kPack + Cost::kWeightByte * plan.packed_bytes +
         Cost::kInputByte * (input_bytes + plan.input_bytes) + cost.start +
         rounds * (cost.block + rows * cost.row) + steps * std::max(cost.wait, rounds * cost.step) +
         cost.output * output_bytes +
         (plan.splits > 1 ? Cost::kSplit + sum_byte * plan.sums_bytes : 0);
}

/// The cheapest plan; `fits` is false where there is none.
template <typename T>
Conv1dWgmmaPackedPlan cut_conv1d_wgmma_packed(const Conv1dProblem& problem, int max_shared_bytes,
                                              int multiprocessors) {
  Conv1dWgmmaPackedPlan best;
  if (conv1d_products(problem) < Conv1dPackedCost::kMinProducts) {
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

/// What a plan of the other kernels takes; infinite where it does not fit.
template <typename T>
double conv1d_wgmma_cost(const Conv1dWgmmaPlan& plan) {
  if (!plan.fits) {
    return std::numeric_limits<double>::infinity();
  }
  return kFragmentsCost.of(plan.params.problem, sizeof(T),
                           conv1d_fragments_factor<T>(plan) * plan.cost, plan.packed_bytes);
}
template <typename T>
double conv1d_wgmma_cost(const Conv1dWgmmaJoinedPlan& plan) {
  if (!plan.fits) {
    return std::numeric_limits<double>::infinity();
  }
  return kJoinedCost.of(plan.params.problem, sizeof(T), plan.cost, plan.packed_bytes);
}
template <typename T>
double conv1d_wgmma_cost(const Conv1dWgmmaSharedPlan& plan) {
  if (!plan.fits) {
    return std::numeric_limits<double>::infinity();
  }
  const Conv1dWgmmaSharedParams& p = plan.params;
  const double windows =
      static_cast<double>(divide_up(p.all_tiles, plan.grid_x)) * p.channel_chunks;
  if (is_odd_of_single_steps(plan)) {
    const int64_t rows = p.problem.batch * p.problem.groups * p.problem.out_channels;
    return kSharedOddCost.of(p.problem, sizeof(T), windows, plan.packed_bytes) +
           kSharedOddRow * static_cast<double>(rows);
  }
  const Conv1dOtherCost& cost = p.correlation.residues > 1     ? kSharedResiduesCost
                                : plan.block_slots > 128       ? kSharedWideCost
                                : !p.aligned_rows              ? kSharedOddStepsCost
                                : p.correlation.input_step > 1 ? kSharedStepsCost
                                                               : kSharedCost;
  return cost.of(p.problem, sizeof(T), windows * p.correlation.taps, plan.packed_bytes);
}

}  // namespace kernelopt
