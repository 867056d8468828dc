// What the weight gradient on Hopper's tensor cores is told, by value, and its tiles. Includes no
// torch header.
#pragma once

#include "conv1d/weight_gradient_mma_params.h"

namespace kernelopt {

struct WeightGradientWgmmaShape {
  static constexpr int kWarpgroups = 2;  // that multiply, 64 steady channels each
  static constexpr int kThreads = (kWarpgroups + 1) * 128;
  static constexpr int kColumns = 64;  // shifted channels of a block
  // Taps of a warpgroup, at most: 160 accumulators a thread.
  static constexpr int kMaxTaps = 5;
  // What a step's steady tile costs, and a window as long as the step, in the products of a tap,
  // which take about 0.25 us. On an H100 a step of one tap takes 1.0 us in fp32, at stride 2, with
  // a window of twice the length, 2.05 us. 6x64x25600 -> 128, k3 d64 in bf16: 0.054 ms with all
  // taps of a window of three steps, 0.079 with one tap.
  static constexpr double steady_time(int size) { return size == 4 ? 0.5 : 2.5; }
  static constexpr double window_time(int size) { return size == 4 ? 3.5 : 1.0; }
  // Steps of a share: few, where that gives multiprocessors something to do. Transposed 1x128x374
  // -> 64, k2 s2 in fp32, with the sum of the shares: 12 steps 30 us, 4 14 us, 2 9.5 us.
  static constexpr int kMinStepsPerShare = 2;
  // What a share's sums cost, written and read again, in steps of about 1 us.
  static constexpr double kSumsPerStep = 6e5;
  static constexpr int kHalfTaps = 4;  // with half of the positions a step
  // Of a step: those of 128 bytes, or half of them where windows of so many do not fit.
  static constexpr int positions(int size, bool half) { return 128 / size / (half ? 2 : 1); }
  static constexpr int kRowBytes = 128;  // of a steady channel
  static constexpr int kOperands = 2;    // windows that are ready for the tensor cores
  static constexpr int kMaxAhead = 3;    // steps on their way to shared memory
  // Registers a thread: in all those of three warpgroups at the block's start, 168 a thread.
  static constexpr int kProductRegisters = 208;
  static constexpr int kLoadRegisters = 88;
  // Tensor cores round sums towards zero: after so many products in a row a sum is added to the
  // share's in device memory, rounded to nearest. The results of 16 bits are less exact themselves.
  static constexpr int max_products_in_row(int size) { return size == 4 ? 384 : 1536; }
  static constexpr int flush_steps(int size, int positions) {
    return max_products_in_row(size) / (positions / 16 * (size == 4 ? 3 : 1));
  }
};

template <typename T>
struct WeightGradientWgmmaParams : WeightGradientParams<T> {
  // 2: each warpgroup has steady channels of its own. 1: all have the same, and other taps.
  int row_groups;
  int ahead;         // steps on their way
  int eights;        // of positions in a window, an even number
  int window_pitch;  // bytes of a shifted channel's row, 16 modulo 32: no bank conflicts
  // A window as the tensor cores read it, sorted by positions modulo the stride: units of 16 bytes,
  // of 8 channels each, from a residue to the next, and from 8 channels to the next 8.
  int residue_units, operand_units;
  uint32_t divide_by_stride;  // position / stride = the high word of position * this; 0: stride 1
  // Of one steady tile, raw window and operand in shared memory.
  int steady_bytes, window_bytes, operand_bytes;
};

}  // namespace kernelopt
