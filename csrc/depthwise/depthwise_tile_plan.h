// How the tile kernel cuts a correlation in blocks. Includes no torch header.
#pragma once

#include "depthwise/depthwise_sliding_plan.h"

#include <algorithm>

namespace kernelopt {

/// A block owns `units` of dilation * rows_per_thread result rows, and `columns` columns, of one
/// plane. A unit is `dilation` threads high: thread d owns its rows d, d + dilation, ...
struct TilePlan {
  int rows_per_thread;  // 1, 2, 4 or 8; 0 where no tile fits
  int units;
  int columns;
  int strips;       // of units over a plane
  int tiles;        // of columns over a row
  int source_rows;  // in shared memory
  int source_columns;
  int source_pitch;
  int tap_pitch;  // rows of the kernel, in an odd number of vectors of kTapVector: see few_columns
  bool few_columns;  // of the kernel meet the image: then each thread begins with its own first
  int shared_bytes;
  int threads;
  int64_t blocks;
};

constexpr int kTapVector = 4;

/// What a result costs a tap beside others: its product, and its share of the loads of a source
/// value and of taps. Fitted to 16x512x14x14, k27: 16.0, 10.9, 7.6, 6.3 us for a row of 1, 2, 4, 8.
constexpr double tile_cost(double rows_per_thread) { return 1 + 4 / rows_per_thread; }

/// The pitch of source rows, at least `columns`, at which a warp that goes on in the next group of
/// rows does so in the next bank too; `columns` where there is none.
/// @param result_columns  of a tile
inline int64_t tile_pitch(int64_t columns, int64_t unit_rows, int64_t result_columns) {
  constexpr int64_t kBanks = 32;
  for (int64_t pitch = columns; pitch < columns + kBanks; ++pitch) {
    if ((unit_rows * pitch - result_columns) % kBanks == 0) {
      return pitch;
    }
  }
  return columns;
}

/// The plan with so many rows a thread; rows_per_thread is 0 where no tile fits.
/// @param multiprocessors  of the device
template <typename Policy = DepthwiseTilePolicy>
TilePlan tile_plan_of(const DepthwiseParams& params, int multiprocessors, int64_t rows) {
  const DepthwiseAxis& h = params.h;
  const DepthwiseAxis& w = params.w;
  const int64_t unit_rows = h.dilation * rows;
  const int64_t all_units = divide_up(h.result_size, unit_rows);
  const int64_t tap_pitch = (divide_up(h.kernel_size, kTapVector) | 1) * kTapVector;
  const int64_t planes = params.batch * params.result_channels;

  TilePlan plan{};
  for (int64_t tiles = divide_up(w.result_size, Policy::kMaxColumns);; ++tiles) {
    const int64_t columns = divide_up(w.result_size, tiles);
    const int64_t source_columns = (columns - 1) * w.stride + (w.kernel_size - 1) * w.dilation + 1;
    const int64_t pitch = h.dilation == 1 && w.stride == 1
                              ? tile_pitch(source_columns, unit_rows, columns)
                              : source_columns;
    const auto source_rows = [&](int64_t units) {
      return units * unit_rows + (h.kernel_size - 1) * h.dilation;
    };
    const auto fits = [&](int64_t units) {
      return units * h.dilation * columns <= Policy::kMaxThreads &&
             source_rows(units) * pitch + tap_pitch * w.kernel_size <= Policy::kFloats;
    };
    if (!fits(1)) {
      if (columns <= Policy::kMinColumns) {
        return plan;
      }
      continue;
    }
    int64_t units = 1;
    while (units < all_units && fits(units + 1) &&
           planes * tiles * divide_up(all_units, units + 1) >=
               int64_t{multiprocessors} * Policy::kBlocksPerMultiprocessor) {
      ++units;
    }
    units = divide_up(all_units, divide_up(all_units, units));
    plan.rows_per_thread = static_cast<int>(rows);
    plan.units = static_cast<int>(units);
    plan.columns = static_cast<int>(columns);
    plan.strips = static_cast<int>(divide_up(all_units, units));
    plan.tiles = static_cast<int>(tiles);
    plan.source_rows = static_cast<int>(source_rows(units));
    plan.source_columns = static_cast<int>(source_columns);
    plan.source_pitch = static_cast<int>(pitch);
    plan.tap_pitch = static_cast<int>(tap_pitch);
    plan.few_columns = 4 * divide_up(w.source_size, w.dilation) <= 3 * w.kernel_size;
    plan.shared_bytes =
        static_cast<int>(4 * (source_rows(units) * pitch + tap_pitch * w.kernel_size));
    plan.threads = static_cast<int>(divide_up(units * h.dilation * columns, 32) * 32);
    plan.blocks = planes * plan.strips * plan.tiles;
    return plan;
  }
}

/// @param multiprocessors  of the device
template <typename Policy = DepthwiseTilePolicy>
TilePlan plan_tiles(const DepthwiseParams& params, int multiprocessors) {
  const DepthwiseAxis& h = params.h;
  const int64_t class_rows = divide_up(h.result_size, h.dilation);
  const double columns = static_cast<double>(params.batch * params.result_channels * h.dilation) *
                         params.w.result_size;
  const auto cost = [&](int64_t rows) {
    const int64_t units = divide_up(class_rows, rows);
    const double threads = columns * static_cast<double>(units) / multiprocessors;
    return static_cast<double>(units * rows) * tile_cost(static_cast<double>(rows)) *
           std::max(1.0, Policy::kThreadsPerMultiprocessor / threads);
  };
  int64_t rows = 1;
  for (const int64_t candidate : {2, 4, 8}) {
    rows = cost(candidate) < cost(rows) ? candidate : rows;
  }
  TilePlan plan = tile_plan_of<Policy>(params, multiprocessors, rows);
  while (plan.rows_per_thread == 0 && rows > 1) {
    rows /= 2;  // a unit of fewer rows may fit
    plan = tile_plan_of<Policy>(params, multiprocessors, rows);
  }
  return plan;
}

/// Whether the tile kernel is faster than the direct one: rows of the kernel share source rows, and
/// most of what a dilated kernel's tile holds is not halo.
inline bool tiles_pay(const DepthwiseParams& params, const TilePlan& plan) {
  const int64_t results = plan.units * params.h.dilation * plan.rows_per_thread * plan.columns;
  return params.h.kernel_size > 1 && ((params.h.dilation == 1 && params.w.dilation == 1) ||
                                      plan.source_rows * plan.source_columns <= 4 * results);
}

}  // namespace kernelopt
