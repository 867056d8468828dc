// How the sliding kernel cuts a correlation in blocks. Includes no torch header.
#pragma once

#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

#include <algorithm>

namespace kernelopt {

/// A block owns `planes` whole result planes, or of one plane a strip of `rows` rows and a tile of
/// `columns` columns; a thread owns `rows_per_thread` rows of the columns that fill 16 bytes.
struct SlidingPlan {
  int threads_per_row;
  int rows_per_thread;
  int row_groups;  // rows / rows_per_thread, rounded up
  int planes;
  int rows;
  int columns;
  int strips;  // rows over a plane
  int tiles;   // columns over a row
  bool whole_rows;
  int source_pitch;  // bytes from row to row in shared memory
  int result_pitch;
  int result_offset;  // where results lie in shared memory
  int shared_bytes;
  int threads;
  int64_t blocks;
};

/// Shared memory before and behind the source rows that windows at the edges of the image may read:
/// a window of stride 2 has at most 84 bytes, and its loads are aligned. It holds the barrier.
constexpr int kSlidingMargin = 96;

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// @param element_bytes    2 or 4
/// @param multiprocessors  of the device
/// @param shared_budget    bytes of shared memory that a block should not pass
template <typename Policy = DepthwiseSlidingPolicy>
SlidingPlan plan_sliding(const DepthwiseParams& params, int element_bytes, int multiprocessors,
                         int64_t shared_budget) {
  const int64_t vec = 16 / element_bytes, stride = params.h.stride;
  const int64_t height = params.h.result_size, width = params.w.result_size;
  const int64_t planes = params.batch * params.result_channels;
  const int64_t source_width = params.w.source_size;

  SlidingPlan plan{};
  const int64_t row_vectors = divide_up(width, vec);
  plan.tiles = static_cast<int>(divide_up(row_vectors, Policy::kMaxThreadsPerRow));
  plan.threads_per_row = static_cast<int>(divide_up(row_vectors, plan.tiles));
  plan.columns = static_cast<int>(plan.threads_per_row * vec);
  const int64_t tile_width = (plan.columns - 1) * stride + params.w.kernel_size;
  plan.whole_rows = plan.tiles == 1 && source_width <= tile_width + params.w.kernel_size;
  const auto pitch_of_tile = [&](int64_t columns, int64_t row_length) {
    return static_cast<int>((columns * element_bytes + 15) / 16 * 16 + 32 +
                            row_length * element_bytes % 16);
  };
  plan.source_pitch = plan.whole_rows ? static_cast<int>(source_width * element_bytes)
                                      : pitch_of_tile(tile_width, source_width);
  plan.result_pitch = plan.whole_rows ? static_cast<int>(width * element_bytes)
                                      : pitch_of_tile(plan.columns, width);

  // Rows: as many as the budget has room for, then evenly over the plane, more strips where they
  // would not fill the device.
  const int64_t target_blocks = int64_t{multiprocessors} * Policy::kBlocksPerMultiprocessor;
  const int64_t overlap = params.h.kernel_size - stride;  // source rows that two strips both read
  const int64_t row_bytes = plan.source_pitch * stride + plan.result_pitch;
  int64_t rows = std::max<int64_t>(1, (shared_budget - overlap * plan.source_pitch) / row_bytes);
  const int64_t row_target =
      params.h.kernel_size > 3 ? Policy::kTallRowsPerThread : Policy::kRowsPerThread;
  rows = std::min(rows, row_target * std::max(1, Policy::kThreads / plan.threads_per_row));
  rows = std::min(rows, height);
  int64_t strips = divide_up(height, rows);
  const int64_t wanted_strips = divide_up(target_blocks, planes * plan.tiles);
  strips = std::max(strips, std::min(wanted_strips, divide_up(height, Policy::kMinRowsPerStrip)));
  rows = divide_up(height, strips);
  plan.strips = static_cast<int>(divide_up(height, rows));
  plan.rows = static_cast<int>(rows);
  const int64_t groups = divide_up(rows, row_target);
  plan.rows_per_thread = static_cast<int>(divide_up(rows, groups));
  plan.row_groups = static_cast<int>(divide_up(rows, plan.rows_per_thread));

  int64_t source_rows = (rows - 1) * stride + params.h.kernel_size;
  plan.planes = 1;
  if (plan.strips == 1 && plan.whole_rows) {
    const int64_t source_plane = params.h.source_size * plan.source_pitch;
    const int64_t result_plane = height * plan.result_pitch;
    const int64_t block_planes =
        std::min({shared_budget / (source_plane + result_plane),
                  int64_t{Policy::kThreads} / (plan.threads_per_row * plan.row_groups),
                  divide_up(planes, target_blocks)});
    plan.planes = static_cast<int>(std::max<int64_t>(1, block_planes));
    source_rows = plan.planes > 1 ? plan.planes * params.h.source_size : source_rows;
  }
  plan.result_offset =
      static_cast<int>((2 * kSlidingMargin + source_rows * plan.source_pitch + 15 + 15) / 16 * 16);
  plan.shared_bytes =
      static_cast<int>(plan.result_offset + plan.planes * rows * plan.result_pitch + 16);
  plan.threads = (plan.planes * plan.row_groups * plan.threads_per_row + 31) / 32 * 32;
  plan.blocks = divide_up(planes, plan.planes) * plan.strips * plan.tiles;
  return plan;
}

}  // namespace kernelopt
