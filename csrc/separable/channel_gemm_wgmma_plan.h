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

/// Estimated cycles of a plan, to compare tilings by. Counted: a multiprocessor's tensor cores do
/// 2048 products a cycle and read 128 bytes of shared memory; some 40 bytes a cycle come from the
/// L2 cache and go there.
inline double estimate_cycles(const ChannelGemmWgmmaPlan& plan, int size, int multiprocessors) {
  constexpr double kCacheBytes = 40, kStart = 1500, kGroup = 60;
  const ChannelGemmWgmmaParams& p = plan.params;
  const double parts = p.together ? ChannelGemmWgmmaShape::kWarpgroups : 1;
  const double rows = parts * plan.tiles_m * 64.0, n = plan.block_n;
  const double tiles = static_cast<double>(divide_up(p.row_tiles, plan.grid_x)) *
                       divide_up(int64_t{plan.grid_x} * plan.grid_y, multiprocessors);
  const double steps = static_cast<double>(size == 2 ? int64_t{4} * p.chunks : divide_up(p.k, 16));
  const double row_bytes = static_cast<double>(p.k) * size;
  const double right = n * p.chunks * ChannelGemmWgmmaShape::kChunkBytes;
  const double product =
      parts * plan.tiles_m * steps * (size == 4 ? 1.5 * n : std::max(n / 2, 16 + n / 4));
  const double load = (rows * row_bytes + (p.resident ? 0 : right)) / kCacheBytes;
  const double store = rows * std::min<double>(n, p.n) * size / kCacheBytes;
  const double end = plan.tiles_m * n / 16 * kGroup;
  const double first = kStart + (p.resident ? right / kCacheBytes : 0);
  const double tile = p.together ? std::max({product + end, load, store})
                                 : std::max({product, load, store, end / 2});
  return first + tiles * tile + end;
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
