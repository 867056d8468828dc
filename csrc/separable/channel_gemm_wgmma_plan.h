// Tiles, stages and grid of the warpgroup kernel of the pointwise product. Includes no torch
// header.
#pragma once

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

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline bool is_aligned(const void* pointer, int64_t row_bytes, int bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0 && row_bytes % bytes == 0;
}

/// Estimated cycles of a plan, to compare tiles by. Counted: a multiprocessor's tensor cores do
/// 2048 products a cycle and read 128 bytes of shared memory; some 40 bytes a cycle come from the
/// L2 cache and go there.
inline double estimate_cycles(const ChannelGemmWgmmaPlan& plan, int size, int multiprocessors) {
  constexpr double kCacheBytes = 40, kStart = 1500, kGroup = 60;
  const ChannelGemmWgmmaParams& p = plan.params;
  const double rows = plan.tiles_m * 64.0, n = plan.block_n;
  const double tiles = static_cast<double>(divide_up(p.row_tiles, plan.grid_x)) *
                       divide_up(int64_t{plan.grid_x} * plan.grid_y, multiprocessors);
  const double steps = static_cast<double>(size == 2 ? int64_t{4} * p.chunks : divide_up(p.k, 16));
  const double row_bytes = static_cast<double>(p.k) * size;
  const double right = n * p.chunks * ChannelGemmWgmmaShape::kChunkBytes;
  const double product = plan.tiles_m * steps * (size == 4 ? 1.5 * n : std::max(n / 2, 16 + n / 4));
  const double load = (rows * row_bytes + (p.resident ? 0 : right)) / kCacheBytes;
  const double store = rows * std::min<double>(n, p.n) * size / kCacheBytes;
  const double end = plan.tiles_m * n / 16 * kGroup;
  const double first = kStart + (p.resident ? right / kCacheBytes : 0);
  return first + tiles * std::max({product, load, store, end / 2}) + end;
}

}  // namespace channel_gemm_wgmma

/// Plans the product of `problem`, of which the operands, their sizes and strides and the
/// activation are given.
template <typename T>
ChannelGemmWgmmaPlan plan_channel_gemm_wgmma(const ChannelGemmWgmmaParams& problem,
                                             int max_shared_bytes, int multiprocessors,
                                             int forced_tiles_m = 0, int forced_n = 0,
                                             int forced_resident = -1) {
  using Shape = ChannelGemmWgmmaShape;
  namespace detail = channel_gemm_wgmma;
  constexpr int kSize = static_cast<int>(sizeof(T));
  const int64_t row_bytes = int64_t{problem.k} * kSize;
  const bool packs = kSize != 2 || problem.right_k_stride != 1 ||
                     problem.right_n_stride != problem.k ||
                     !detail::is_aligned(problem.right, row_bytes, 16);
  ChannelGemmWgmmaPlan best{};
  double best_cycles = std::numeric_limits<double>::max();
  for (int tiles_m = Shape::kMaxTilesM; tiles_m >= 1; --tiles_m) {
    for (int n = 128; n >= 32; n -= 32) {
      for (int resident = 1; resident >= 0; --resident) {
        if ((forced_tiles_m > 0 && tiles_m != forced_tiles_m) || (forced_n > 0 && n != forced_n) ||
            (forced_resident >= 0 && resident != forced_resident)) {
          continue;
        }
        ChannelGemmWgmmaPlan plan{};
        ChannelGemmWgmmaParams& p = plan.params;
        p = problem;
        plan.tiles_m = tiles_m;
        plan.block_n = n;
        const int64_t row_tiles = detail::divide_up(p.m, tiles_m * 64);
        const int64_t chunks = detail::divide_up(row_bytes, Shape::kChunkBytes);
        const int64_t blocks = detail::divide_up(p.n, n);
        if (row_tiles * chunks > std::numeric_limits<int32_t>::max() / 4 || blocks > 65535) {
          continue;
        }
        p.row_tiles = static_cast<int>(row_tiles);
        p.chunks = static_cast<int>(chunks);
        p.resident = resident != 0;
        p.piece = detail::is_aligned(p.left, row_bytes, 16)  ? 16
                  : detail::is_aligned(p.left, row_bytes, 4) ? 4
                                                             : 2;
        p.vectors = detail::is_aligned(p.result, int64_t{p.n} * kSize, 16);
        const int64_t right_bytes = n * Shape::kChunkBytes;
        const int64_t stage_bytes =
            tiles_m * 64 * Shape::kChunkBytes + (p.resident ? 0 : right_bytes);
        const int64_t rest = (p.resident ? chunks * (right_bytes + 8) : 0) + n * 4 +
                             (2 * detail::kMaxStages + Shape::kWarpgroups) * 8;
        p.stages = static_cast<int>(
            std::min<int64_t>(detail::kMaxStages, (max_shared_bytes - rest) / stage_bytes));
        if (p.stages <= Shape::pending_stages(tiles_m)) {
          continue;
        }
        plan.grid_y = static_cast<unsigned>(blocks);
        plan.grid_x = static_cast<unsigned>(
            std::clamp<int64_t>(multiprocessors / blocks, 1, row_tiles));  // one wave
        plan.packed_bytes = packs ? blocks * chunks * right_bytes : 0;
        plan.shared_bytes = static_cast<int>(rest + p.stages * stage_bytes);
        plan.fits = true;
        const double cycles = detail::estimate_cycles(plan, kSize, multiprocessors);
        if (cycles < best_cycles) {
          best_cycles = cycles;
          best = plan;
        }
      }
    }
  }
  return best;
}

}  // namespace kernelopt
