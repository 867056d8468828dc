// How the channels_last sliding kernel cuts a correlation in blocks. Includes no torch header.
#pragma once

#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_sliding_plan.h"

#include <algorithm>

namespace kernelopt {

/// A block owns `vectors` channel vectors of `rows` rows and column_groups * Shape::kColumns
/// columns of an image; a thread owns one vector of `rows_per_thread` rows and a column group.
struct ChannelsLastPlan {
  int vectors;
  int column_groups;
  int row_groups;
  int rows_per_thread;
  int rows;
  int channel_blocks;  // over the channels
  int tiles;           // columns over a row
  int strips;          // rows over an image
  int source_columns;  // in shared memory
  int taps_offset;     // where taps lie in shared memory
  int shared_bytes;
  int threads;
  int64_t blocks;
};

/// Whether blocks of this size leave a multiprocessor warps enough to hide their latencies: 1, or
/// less. Five blocks with all the shared memory of the budget fit, and 16 warps are enough.
inline double residency(int64_t threads, int64_t shared_bytes, int64_t shared_budget) {
  const int64_t blocks =
      std::min<int64_t>(32, 5 * shared_budget / std::max<int64_t>(shared_bytes, 1));
  return std::min(1.0, static_cast<double>(blocks * divide_up(threads, 32)) / 16);
}

/// The plan with at most this many channel vectors and column groups a block.
/// @param rows_per_thread  at most
/// @return `rows` is 0 where not even one row fits the shared memory
template <typename Shape, typename Policy>
ChannelsLastPlan channels_last_plan_of(const DepthwiseParams& params, int element_bytes,
                                       int64_t shared_budget, int64_t most_vectors,
                                       int64_t most_groups, int64_t rows_per_thread) {
  constexpr int kStride = Shape::kStride, kColumns = Shape::kColumns;
  constexpr int kHeight = Shape::kKernelHeight, kWidth = Shape::kKernelWidth;
  const int64_t height = params.h.result_size, width = params.w.result_size;
  const int64_t vector_bytes = int64_t{Shape::kVec} * element_bytes;
  const int64_t per_unit = 16 / vector_bytes;  // vectors that are copied at once
  const int64_t units = params.result_channels / (Shape::kVec * per_unit);
  const int64_t block_units = divide_up(units, divide_up(units, most_vectors / per_unit));
  const int64_t vectors = block_units * per_unit;
  const int64_t all_groups = divide_up(width, kColumns);
  const int64_t groups = divide_up(
      all_groups,
      divide_up(all_groups, std::clamp<int64_t>(Policy::kThreads / vectors, 1, most_groups)));
  ChannelsLastPlan plan{};
  plan.vectors = static_cast<int>(vectors);
  plan.channel_blocks = static_cast<int>(divide_up(units, block_units));
  plan.column_groups = static_cast<int>(groups);
  plan.tiles = static_cast<int>(divide_up(all_groups, groups));
  plan.source_columns = static_cast<int>((groups * kColumns - 1) * kStride + kWidth);

  const int64_t row_bytes = plan.source_columns * vectors * vector_bytes;
  const int64_t taps_bytes =
      Shape::kTapsInRegisters ? 0 : kHeight * kWidth * vectors * vector_bytes;
  const int64_t source_rows = (shared_budget - taps_bytes) / row_bytes;  // room for
  if (source_rows < kHeight) {
    return plan;
  }
  const int64_t row_groups = std::max<int64_t>(1, Policy::kThreads / (vectors * groups));
  int64_t rows =
      std::min({(source_rows - kHeight) / kStride + 1, rows_per_thread * row_groups, height});
  rows = divide_up(height, divide_up(height, rows));
  plan.rows = static_cast<int>(rows);
  plan.strips = static_cast<int>(divide_up(height, rows));
  plan.rows_per_thread = static_cast<int>(divide_up(rows, divide_up(rows, rows_per_thread)));
  plan.row_groups = static_cast<int>(divide_up(rows, plan.rows_per_thread));
  plan.taps_offset = static_cast<int>(((rows - 1) * kStride + kHeight) * row_bytes);
  plan.shared_bytes = static_cast<int>(plan.taps_offset + taps_bytes);
  plan.threads = static_cast<int>(divide_up(vectors * groups * plan.row_groups, 32) * 32);
  plan.blocks = params.batch * plan.strips * plan.tiles * plan.channel_blocks;
  return plan;
}

/// @param element_bytes    2 or 4
/// @param multiprocessors  of the device
/// @param shared_budget    bytes of shared memory that a block does not pass
template <typename Shape, typename Policy = DepthwiseChannelsLastPolicy>
ChannelsLastPlan plan_channels_last(const DepthwiseParams& params, int element_bytes,
                                    int multiprocessors, int64_t shared_budget) {
  constexpr int kStride = Shape::kStride;
  const int64_t height = params.h.result_size, width = params.w.result_size;
  // Rows of a thread: fewer where they would not fill the device.
  const int64_t all_rows = params.batch * height * divide_up(width, Shape::kColumns) *
                           params.result_channels / Shape::kVec;
  const int64_t rows_per_thread = std::clamp<int64_t>(
      all_rows / (int64_t{multiprocessors} * Policy::kThreadsPerMultiprocessor), Policy::kMinRows,
      element_bytes == 2 ? Policy::kRowsOf16Bit : Policy::kRowsOf32Bit);
  const int64_t least_vectors =
      Shape::kTapsInRegisters ? Policy::kMinVectors : Policy::kMinVectorsOfManyTaps;
  ChannelsLastPlan best{};
  double best_share = 0;
  const auto consider = [&](const ChannelsLastPlan& plan) {
    if (plan.rows == 0) {
      return;
    }
    // What part of the source a block copies is its own, what part of the rows a thread computes,
    // what part of its lanes have a thread, and whether there are warps enough.
    const double columns =
        static_cast<double>(width) * kStride / (int64_t{plan.tiles} * plan.source_columns);
    const double rows = static_cast<double>(height) * kStride /
                        (int64_t{plan.strips} * ((plan.rows - 1) * kStride + Shape::kKernelHeight));
    const double computed = plan.rows_per_thread / (plan.rows_per_thread + Policy::kRowsToBegin +
                                                    (Shape::kKernelHeight - 1) / (2.0 * kStride));
    const double share = columns * rows * computed *
                         fullness(plan.vectors * plan.column_groups * plan.row_groups) *
                         residency(plan.threads, plan.shared_bytes, shared_budget);
    if (share > best_share) {
      best_share = share;
      best = plan;
    }
  };
  for (int64_t vectors = Policy::kMaxVectors; vectors >= least_vectors; vectors /= 2) {
    for (int64_t groups = Policy::kMaxColumnGroups; groups >= 2; groups /= 2) {
      for (int64_t rows = rows_per_thread; rows >= (rows_per_thread + 1) / 2;
           rows -= (rows + 1) / 2) {
        consider(channels_last_plan_of<Shape, Policy>(params, element_bytes, shared_budget, vectors,
                                                      groups, rows));
      }
    }
  }
  return best;
}

}  // namespace kernelopt
