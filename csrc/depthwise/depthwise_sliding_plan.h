// How the sliding kernel cuts a correlation in blocks. Includes no torch header.
#pragma once

#include "common/math.h"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

#include <algorithm>

namespace kernelopt {

/// A block owns `planes` whole result planes, or of one plane a strip of `rows` rows and a tile of
/// `columns` columns; a thread owns `rows_per_thread` rows of one vector of columns.
struct SlidingPlan {
  int threads_per_row;
  int threads_per_row_inverse;  // 2^16 over it, rounded up: t * inverse >> 16 divides any t < 256
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
  int aligned_lead;   // columns of padding of an aligned slide, -1 where windows are not aligned
  int result_offset;  // where results lie in shared memory
  int shared_bytes;
  int threads;
  int64_t blocks;
};

/// Shared memory before and behind the source rows that windows at the edges of the image may read,
/// at most 68 bytes; it holds the barrier, and lets both areas begin at any address modulo 128.
constexpr int kSlidingMargin = 128;

/// What part of the lanes of as many warps as `threads` take have a thread.
inline double fullness(int64_t threads) {
  return static_cast<double>(threads) / (divide_up(threads, 32) * 32);
}

/// Sets how rows lie in shared memory, by the plan's tiles and columns.
inline void set_pitches(SlidingPlan& plan, const DepthwiseParams& params, int element_bytes) {
  const int64_t source_width = params.w.source_size, width = params.w.result_size;
  const int64_t tile_width = (plan.columns - 1) * params.w.stride + params.w.kernel_size;
  const auto pitch = [&](int64_t tile_columns, int64_t row_length) {
    const int64_t row_bytes = row_length * element_bytes;
    return static_cast<int>(plan.whole_rows
                                ? row_bytes
                                : round_up(tile_columns * element_bytes, 16) + 32 + row_bytes % 16);
  };
  plan.whole_rows = plan.tiles == 1 && source_width <= tile_width + params.w.kernel_size;
  plan.source_pitch = pitch(tile_width, source_width);
  plan.result_pitch = pitch(plan.columns, width);
}

/// Whether the sliding kernel has an instance of AlignedSlide for these kernels at stride 1: those
/// whose windows take as much time as their products.
constexpr bool has_aligned_slide(int64_t kernel_height, int64_t kernel_width) {
  return (kernel_height == 2 || kernel_height == 3) &&
         kernel_height * kernel_width < DepthwiseSlidingPolicy::kManyTaps;
}

/// SlidingPlan::aligned_lead, by the plan's rows, which then begin at one address modulo 16.
template <typename Policy>
int aligned_lead(const SlidingPlan& plan, const DepthwiseParams& params) {
  const int64_t height = params.h.kernel_size, width = params.w.kernel_size;
  const int64_t padding = params.w.padding;
  const bool aligned = has_aligned_slide(height, width) && params.h.stride == 1 &&
                       params.w.stride == 1 && params.h.padding >= 0 && params.h.padding < height &&
                       plan.source_pitch % 16 == 0 &&
                       plan.threads_per_row >= Policy::kMinThreadsOfAlignedRow;
  return aligned && (padding == 0 || (width % 2 == 1 && padding == width / 2))
             ? static_cast<int>(padding)
             : -1;
}

/// Sets where results lie in shared memory and how much there is, by the plan's planes and rows.
inline void set_areas(SlidingPlan& plan, const DepthwiseParams& params) {
  const int64_t source_rows = plan.planes > 1
                                  ? plan.planes * params.h.source_size
                                  : (plan.rows - 1) * params.h.stride + params.h.kernel_size;
  const int64_t results = int64_t{plan.planes} * plan.rows * plan.result_pitch;
  plan.result_offset =
      static_cast<int>(round_up(2 * kSlidingMargin + source_rows * plan.source_pitch, 128));
  plan.shared_bytes = static_cast<int>(round_up(plan.result_offset + results + 128 + 16, 128));
}

/// @param element_bytes    2 or 4
/// @param multiprocessors  of the device
/// @param shared_budget    bytes of shared memory that a block should not pass
/// @param most_planes      of a block
template <typename Policy = DepthwiseSlidingPolicy>
SlidingPlan plan_sliding(const DepthwiseParams& params, int element_bytes, int multiprocessors,
                         int64_t shared_budget, int64_t most_planes = kMaxIndex32) {
  const int64_t taps = params.h.kernel_size * params.w.kernel_size;
  const int64_t vec = sliding_vector_bytes(element_bytes, taps) / element_bytes;
  const int64_t stride = params.h.stride;
  const int64_t height = params.h.result_size, width = params.w.result_size;
  const int64_t planes = params.batch * params.result_channels;

  SlidingPlan plan{};
  const int64_t row_vectors = divide_up(width, vec);
  plan.tiles = static_cast<int>(divide_up(row_vectors, Policy::kMaxThreadsPerRow));
  plan.threads_per_row = static_cast<int>(divide_up(row_vectors, plan.tiles));
  plan.threads_per_row_inverse = (1 << 16) / plan.threads_per_row + 1;
  plan.columns = static_cast<int>(plan.threads_per_row * vec);
  set_pitches(plan, params, element_bytes);

  // Planes of a block whose rows take `threads` threads a plane: what there is room for, rather
  // fewer than idle lanes.
  const int64_t plane_bytes = params.h.source_size * plan.source_pitch + height * plan.result_pitch;
  const auto planes_of_block = [&](int64_t threads) {
    const int64_t most =
        std::min({most_planes, shared_budget / plane_bytes, Policy::kThreads / threads,
                  divide_up(planes, int64_t{multiprocessors} * Policy::kBlocksPerMultiprocessor)});
    int64_t best = std::max<int64_t>(1, most);
    for (int64_t count = most - 1; count > most / 2; --count) {
      best = fullness(count * threads) > fullness(best * threads) ? count : best;
    }
    return best;
  };

  // Rows of a thread: the most there may be, fewer where they would not fill the device, up to half
  // of them fewer where lanes would be idle. Rows of a block: as many as its threads and its shared
  // memory have room for, evenly over the plane.
  const int64_t columns_of_rows = planes * plan.tiles * plan.threads_per_row * height;
  const int64_t unlimited =
      columns_of_rows / (int64_t{multiprocessors} * Policy::kThreadsPerMultiprocessor);
  const bool few = unlimited < Policy::kManyRows && height > Policy::kRowsOf16Bit;
  const int64_t most_rows = taps >= Policy::kManyTaps ? Policy::kRowsOfManyTaps
                            : element_bytes == 4      ? Policy::kRowsOf32Bit
                            : few ? std::min(Policy::kFewRowsOf16Bit, Policy::kRowsOf16Bit)
                                  : Policy::kRowsOf16Bit;
  const int64_t wanted = std::clamp<int64_t>(unlimited, Policy::kMinRows, most_rows);
  const int64_t overlap = params.h.kernel_size - stride;  // source rows that two strips both read
  const int64_t row_bytes = plan.source_pitch * stride + plan.result_pitch;
  const int64_t room =
      std::max<int64_t>(1, (shared_budget - overlap * plan.source_pitch) / row_bytes);
  const int64_t most_groups = std::max(1, Policy::kThreads / plan.threads_per_row);
  const double begin = Policy::kRowsToBegin + (params.h.kernel_size - 1) / 2.0;
  double best = 0;
  for (int64_t candidate = wanted; candidate >= (wanted + 1) / 2; --candidate) {
    const int64_t strips = divide_up(height, std::min({room, candidate * most_groups, height}));
    const int64_t rows = divide_up(height, strips);
    const int64_t rows_per_thread = divide_up(rows, divide_up(rows, candidate));
    const int64_t groups = divide_up(rows, rows_per_thread);
    const int64_t threads = plan.threads_per_row * groups;
    const int64_t block_planes = strips == 1 && plan.whole_rows ? planes_of_block(threads) : 1;
    // The part of the lanes that have a thread, and of its time that goes into rows of its own.
    const double efficiency =
        fullness(block_planes * threads) * rows_per_thread / (rows_per_thread + begin);
    if (efficiency > best) {
      best = efficiency;
      plan.planes = static_cast<int>(block_planes);
      plan.rows = static_cast<int>(rows);
      plan.strips = static_cast<int>(strips);
      plan.rows_per_thread = static_cast<int>(rows_per_thread);
      plan.row_groups = static_cast<int>(groups);
    }
  }

  set_areas(plan, params);
  plan.aligned_lead = aligned_lead<Policy>(plan, params);
  plan.threads = (plan.planes * plan.row_groups * plan.threads_per_row + 31) / 32 * 32;
  plan.blocks = divide_up(planes, plan.planes) * plan.strips * plan.tiles;
  return plan;
}

}  // namespace kernelopt
