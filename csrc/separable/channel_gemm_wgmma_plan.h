// Tiles, stages and grid of the warpgroup kernel of the pointwise product. Includes no torch
// header.
#pragma once

#include "common/math.h"
#include "separable/channel_gemm_wgmma_params.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

struct ChannelGemmWgmmaPlan {
  bool fits;
  ChannelGemmWgmmaParams params;
  int tiles_m;
  int block_n;
  int shared_bytes;
  int64_t packed_bytes;  // 0: the blocks read the weight itself
  unsigned grid_x;       // blocks that share the row tiles
  unsigned grid_y;       // blocks of columns
};

namespace channel_gemm_wgmma {

constexpr int kMaxStages = 16;

inline bool is_aligned(const void* pointer, int64_t row_bytes, int bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0 && row_bytes % bytes == 0;
}

/// To compare tilings by. Fitted to the times of all tilings of 21 products in two dtypes on an
/// H100 (docs/tuning/pointwise.md): the tiling of the least estimate took at most 1.11 times as
/// long as the best one, 1.01 times in the mean.
struct TilingCosts {
  static constexpr double kStart = 1500;
  static constexpr double kStage = 410;        // at least, of a stage
  static constexpr double kFragment = 90;      // at least, of 64 x 16 values that are split
  static constexpr double kColumn = 3;         // of a column of 64 results, to store it
  static constexpr double kCacheBytes = 4500;  // from the L2 cache, of all blocks
  static constexpr double kStoreBytes = 220;   // of a block
  static constexpr double kMemoryBytes = 13;   // of a multiprocessor
  static constexpr double kOverlap = 0.25;     // what remains of the smaller one of two costs
  /// To a block, by copies of so many bytes.
  static constexpr double copy_bytes(int piece) { return piece == 16 ? 48 : piece == 4 ? 22 : 11; }
};

/// Estimated cycles. A multiprocessor's tensor cores do 2048 products a cycle and read 128 bytes of
/// shared memory.
inline double estimate_cycles(const ChannelGemmWgmmaPlan& plan, int size, int multiprocessors) {
  using Costs = TilingCosts;
  const ChannelGemmWgmmaParams& p = plan.params;
  const double parts = p.together ? ChannelGemmWgmmaShape::kWarpgroups : 1;
  const double tiles_m = plan.tiles_m, rows = parts * tiles_m * 64, n = plan.block_n;
  const int64_t blocks = int64_t{plan.grid_x} * plan.grid_y;
  const double tiles = static_cast<double>(divide_up(p.row_tiles, plan.grid_x)) *
                       static_cast<double>(divide_up(blocks, multiprocessors));
  const double steps = static_cast<double>(size == 2 ? int64_t{4} * p.chunks : divide_up(p.k, 16));
  const double products = size == 2 ? parts * tiles_m * steps * std::max(n / 2, 16 + n / 4)
                                    : tiles_m * steps * std::max(parts * 1.5 * n, Costs::kFragment);
  const double multiply = std::max(products, p.chunks * Costs::kStage);
  const double end = tiles_m * n * Costs::kColumn;

  const double share = Costs::kCacheBytes / std::min<double>(blocks, multiprocessors);
  const double right = n * p.chunks * ChannelGemmWgmmaShape::kChunkBytes;
  const double resident = p.resident ? right / Costs::copy_bytes(16) : 0;
  const double copy = rows * p.k * size / std::min(share, Costs::copy_bytes(p.piece)) +
                      (p.resident ? 0 : right / std::min(share, Costs::copy_bytes(16))) +
                      rows * std::min<double>(n, p.n) * size / Costs::kStoreBytes;
  const double work = p.together ? tiles * std::max(multiply + end, copy)
                                 : tiles * std::max({multiply, copy, (multiply + end) / 2}) + end;
  const double memory = static_cast<double>(p.m) * (static_cast<double>(p.k) + p.n) * size /
                        (multiprocessors * Costs::kMemoryBytes);
  return Costs::kStart + resident + std::max(work, memory) +
         Costs::kOverlap * std::min(work, memory);
}

/// How the work is cut.
struct Tiling {
  int tiles_m;
  int block_n;
  bool resident;
  bool together;
};

/// The plan of a problem with a tiling; where the tiling does not fit it says so.
template <typename T>
ChannelGemmWgmmaPlan plan_tiling(const ChannelGemmWgmmaParams& problem, const Tiling& tiling,
                                 int max_shared_bytes, int multiprocessors) {
  using Shape = ChannelGemmWgmmaShape;
  constexpr int kSize = static_cast<int>(sizeof(T));
  ChannelGemmWgmmaPlan plan{};
  ChannelGemmWgmmaParams& p = plan.params;
  p = problem;
  plan.tiles_m = tiling.tiles_m;
  plan.block_n = tiling.block_n;
  p.resident = tiling.resident;
  p.together = tiling.together;
  const int64_t row_bytes = int64_t{p.k} * kSize;
  const int64_t rows = (p.together ? Shape::kWarpgroups : 1) * tiling.tiles_m * 64;
  const int64_t row_tiles = divide_up(p.m, rows), blocks = divide_up(p.n, tiling.block_n);
  const int64_t chunks = divide_up(row_bytes, Shape::kChunkBytes);
  if (row_tiles * chunks > std::numeric_limits<int32_t>::max() / 4 || blocks > 65535) {
    return plan;
  }
  p.row_tiles = static_cast<int>(row_tiles);
  p.chunks = static_cast<int>(chunks);
  p.piece = is_aligned(p.left, row_bytes, 16) ? 16 : is_aligned(p.left, row_bytes, 4) ? 4 : 2;
  p.vectors = is_aligned(p.result, int64_t{p.n} * kSize, 16);
  const int64_t right_bytes = tiling.block_n * Shape::kChunkBytes;
  const int64_t stage_bytes = rows * Shape::kChunkBytes + (p.resident ? 0 : right_bytes);
  const int64_t rest = (p.resident ? chunks * (right_bytes + 8) : 0) + tiling.block_n * 4 +
                       (2 * kMaxStages + Shape::kWarpgroups) * 8;
  p.stages =
      static_cast<int>(std::min<int64_t>(kMaxStages, (max_shared_bytes - rest) / stage_bytes));
  const bool copies = kSize == 2 && p.right_k_stride == 1 && p.right_n_stride == p.k &&
                      is_aligned(p.right, row_bytes, 16);
  plan.packed_bytes = copies ? 0 : blocks * chunks * right_bytes;
  plan.shared_bytes = static_cast<int>(rest + p.stages * stage_bytes);
  plan.grid_y = static_cast<unsigned>(blocks);
  plan.grid_x = static_cast<unsigned>(
      std::clamp<int64_t>(multiprocessors / blocks, 1, row_tiles));  // one wave
  plan.fits = p.stages >= Shape::pending_stages(tiling.tiles_m, p.together) + Shape::kSpareStages;
  return plan;
}

}  // namespace channel_gemm_wgmma

/// Plans the product of `problem`, of which the operands, their sizes and strides and the
/// activation are given.
template <typename T>
ChannelGemmWgmmaPlan plan_channel_gemm_wgmma(const ChannelGemmWgmmaParams& problem,
                                             int max_shared_bytes, int multiprocessors) {
  namespace detail = channel_gemm_wgmma;
  ChannelGemmWgmmaPlan best{};
  double best_cycles = std::numeric_limits<double>::max();
  for (int choice = 0; choice < 32; ++choice) {
    const detail::Tiling tiling{choice / 4 % 2 + 1, (choice / 8 + 1) * 32, choice % 2 == 0,
                                choice / 2 % 2 != 0};
    const ChannelGemmWgmmaPlan plan =
        detail::plan_tiling<T>(problem, tiling, max_shared_bytes, multiprocessors);
    if (plan.fits) {
      const double cycles =
          detail::estimate_cycles(plan, static_cast<int>(sizeof(T)), multiprocessors);
      if (cycles < best_cycles) {
        best_cycles = cycles;
        best = plan;
      }
    }
  }
  return best;
}

}  // namespace kernelopt
