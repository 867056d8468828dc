// A depthwise one-dimensional correlation, and how its kernel cuts it in blocks. Includes no torch
// header.
#pragma once

#include "conv1d/conv1d_policy.h"
#include "conv1d/conv1d_problem.h"

#include <algorithm>

namespace kernelopt {

/// Output position q of a row and tap j meet at input position q * stride - padding + j * dilation.
/// Row r of the outputs reads row r / multiplier of the inputs.
struct Conv1dSliding {
  int rows;  // of the outputs: batch * channels
  int channels;
  int multiplier;
  int in_channels;
  int64_t in_extent;  // elements from the first input to the last
  int in_length;
  int out_length;
  int kernel_size;
  int stride;
  int padding;
  int dilation;
  bool flipped;  // the kernel's last tap is j = 0
  int lines;     // neighbouring rows of one channel; 1 where there are several outputs of an input

  int reach() const { return (kernel_size - 1) * dilation + 1; }

  static Conv1dSliding of(const Conv1dProblem& problem) {
    const int64_t spread = (problem.kernel_size - 1) * problem.dilation;
    Conv1dSliding row{};
    row.channels = static_cast<int>(problem.groups * problem.out_channels);
    row.rows = static_cast<int>(problem.batch * row.channels);
    row.multiplier = static_cast<int>(problem.out_channels);
    row.in_channels = static_cast<int>(problem.groups);
    row.in_extent = (problem.batch - 1) * problem.input_strides.batch +
                    (problem.groups - 1) * problem.input_strides.channel + problem.in_length;
    row.in_length = static_cast<int>(problem.in_length);
    row.out_length = static_cast<int>(problem.out_length);
    row.kernel_size = static_cast<int>(problem.kernel_size);
    row.stride = static_cast<int>(problem.stride);
    row.padding = static_cast<int>(problem.transposed ? spread - problem.padding : problem.padding);
    row.dilation = static_cast<int>(problem.dilation);
    row.flipped = problem.transposed;
    row.lines = 1;
    return row;
  }
};

/// Whether a view's rows follow each other in memory without gaps.
inline bool rows_are_dense(const Strides1d& strides, int64_t batch, int64_t channels,
                           int64_t length) {
  return (channels == 1 || strides.channel == length) &&
         (batch == 1 || strides.batch == channels * length);
}

/// A block owns `rows` whole rows of the outputs, or a tile of `columns` of one. 2^lanes_log2
/// threads share a row.
struct Conv1dSlidingPlan {
  int lanes_log2;
  int rows;
  int columns;
  int tiles;          // over a row
  int result_offset;  // where outputs lie in shared memory
  int shared_bytes;
  int threads;
  int64_t blocks;
};

/// Shared memory before and behind the inputs that windows at the ends of a row may read, at most
/// 152 bytes; it holds the barrier, and lets both areas begin at any address modulo 128.
constexpr int kConv1dSlidingMargin = 256;

/// @param dense            whether inputs and outputs have dense rows
/// @param element_bytes    2 or 4
/// @param multiprocessors  of the device
template <typename Policy = Conv1dSlidingPolicy>
Conv1dSlidingPlan plan_conv1d_sliding(const Conv1dSliding& row, bool dense, int element_bytes,
                                      int multiprocessors) {
  const int64_t vec = 16 / element_bytes;
  const int64_t vectors = divide_up(row.out_length, vec);
  const int64_t target_blocks = int64_t{multiprocessors} * Policy::kBlocksPerMultiprocessor;
  Conv1dSlidingPlan plan{};
  // Vectors of a block: what the budget of shared memory has room for, fewer where blocks would be
  // too few for the device.
  const int64_t budget = Policy::kSharedBytes - row.reach() * element_bytes;
  int64_t room = std::max<int64_t>(budget / (16 * (row.stride + 1)), Policy::kThreads / 2);
  room = std::min(room, int64_t{Policy::kThreads} * Policy::kVectorsPerThread);
  room = std::min(room, std::max<int64_t>(divide_up(row.rows * vectors, target_blocks), 32));
  plan.tiles = static_cast<int>(divide_up(vectors, room));
  plan.columns = static_cast<int>(divide_up(vectors, plan.tiles) * vec);
  int64_t lanes = 1;
  while (lanes < Policy::kThreads && lanes * Policy::kVectorsPerThread * vec < plan.columns) {
    lanes *= 2;
  }
  plan.rows = 1;
  if (plan.tiles == 1 && dense) {
    const int64_t row_bytes = int64_t{row.in_length + row.out_length} * element_bytes;
    plan.rows = static_cast<int>(std::max<int64_t>(
        1, std::min({int64_t{Policy::kSharedBytes} / row_bytes, Policy::kThreads / lanes,
                     room / vectors, int64_t{row.rows}})));
  }
  while (plan.rows * lanes * 2 <= Policy::kThreads && lanes * vec < plan.columns) {
    lanes *= 2;
  }
  while (1 << plan.lanes_log2 < lanes) {
    ++plan.lanes_log2;
  }
  const int64_t source_elements =
      plan.rows > 1
          ? int64_t{plan.rows} * row.in_length
          : std::min<int64_t>(row.in_length, int64_t{plan.columns - 1} * row.stride + row.reach());
  plan.result_offset =
      static_cast<int>(round_up(2 * kConv1dSlidingMargin + source_elements * element_bytes, 128));
  plan.shared_bytes = static_cast<int>(
      plan.result_offset +
      (plan.rows > 1 ? int64_t{plan.rows} * row.out_length : plan.columns) * element_bytes + 128);
  plan.threads = static_cast<int>(round_up(plan.rows << plan.lanes_log2, 32));
  plan.blocks = divide_up(row.rows, plan.rows) * plan.tiles;
  return plan;
}

}  // namespace kernelopt
