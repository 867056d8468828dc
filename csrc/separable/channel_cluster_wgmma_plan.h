// Tiles, stages and grid of the warpgroup kernel of the pointwise product whose blocks share the
// sum. Includes no torch header.
#pragma once

#include "separable/channel_gemm_wgmma_params.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

struct ChannelClusterWgmmaShape {
  static constexpr int kWarpgroups = 2;  // that multiply
  static constexpr int kLoaders = 2;     // warpgroups that load
  static constexpr int kProductThreads = kWarpgroups * 128;
  static constexpr int kThreads = kProductThreads + kLoaders * 128;
  // 2 * 104 + 2 * 152 registers a thread of each warpgroup fit the multiprocessor's 512.
  static constexpr int kLoadRegisters = 104, kProductRegisters = 152;
  static constexpr int kChunkBytes = ChannelGemmWgmmaShape::kChunkBytes;  // of a weight's row
  static constexpr int kPanel = 64;                                       // pixels
  static constexpr int kPending = 3;  // stages on their way, where pixels are copied as they are
  static constexpr int kMaxStages = 12;
  static constexpr int kMaxShares = 8;  // blocks of a cluster
  static constexpr int weight_bytes(int tiles_n) { return tiles_n * 64 * kChunkBytes; }
  static constexpr int image_bytes(int panels) { return panels * kPanel * kChunkBytes; }
  static constexpr int stage_bytes(int tiles_n, int panels) {
    return weight_bytes(tiles_n) + image_bytes(panels);
  }
  // Copies that wait to be written as the tensor cores take them: of a channel's pixels, with the
  // piece that a row which begins anywhere has more; of a chunk; and of a loader's chunks.
  static constexpr int kRawStages = 2;
  static constexpr int raw_row_bytes(int panels, int size) { return panels * kPanel * size + 16; }
  static constexpr int raw_stage_bytes(int panels, int size) {
    return kChunkBytes / size * raw_row_bytes(panels, size);
  }
  /// Whether pixels are copied to the stages as they are.
  static constexpr bool direct(int size, int piece) { return size == 2 && piece == 16; }
  static constexpr int raw_bytes(int panels, int size, int piece) {
    return direct(size, piece) ? 0 : kLoaders * kRawStages * raw_stage_bytes(panels, size);
  }
  // Floats from a row of sums to the next: rows of a fragment lie eight banks apart.
  static constexpr int sums_pitch(int panels) { return panels * kPanel + 8; }
};

/// `product` has the images as `left`, [batch, k, m], with m pixels; the result is [batch, n, m].
struct ChannelClusterWgmmaParams {
  ChannelGemmWgmmaParams product;
  int image_tiles;
  int shares;        // of the sum, a block of the cluster each
  int share_chunks;  // of a share; the last one may have fewer
};

struct ChannelClusterWgmmaPlan {
  bool fits;
  ChannelClusterWgmmaParams params;
  int tiles_n;  // of 64 channels of the result, a block
  int panels;   // of pixels, a block
  int shared_bytes;
  int64_t packed_bytes;  // 0: the blocks read the weight itself
  unsigned grid_x, grid_y;
};

namespace channel_cluster_wgmma {

/// To compare tilings by, in microseconds, of measured times of an H100: of a block beside the
/// first one's start, and of a chunk of the sum. What a block has to wait for is shared memory,
/// which copies, the parts' way and both operands of the products share.
struct TilingCosts {
  static constexpr double kBlock = 4, kCluster = 1;
  static constexpr double chunk(int tiles_n, int panels, bool direct) {
    return tiles_n == 1 ? (direct ? 0.42 : 0.65) : panels == 1 ? 0.6 : direct ? 0.72 : 1.1;
  }
};

inline double estimate_time(const ChannelClusterWgmmaPlan& plan, int size, int multiprocessors) {
  const ChannelClusterWgmmaParams& p = plan.params;
  const bool direct = ChannelClusterWgmmaShape::direct(size, p.product.piece);
  const int64_t blocks = int64_t{plan.grid_x} * plan.grid_y * p.shares;
  const double chunk = TilingCosts::chunk(plan.tiles_n, plan.panels, direct);
  return static_cast<double>(divide_up(blocks, multiprocessors)) *
             (TilingCosts::kBlock + p.share_chunks * chunk) +
         (p.shares > 1 ? TilingCosts::kCluster : 0);
}

/// Whether so many blocks run at once: clusters of many blocks find no room in some parts of the
/// device. With 128 blocks in fours 1x512x3999 -> 128 took 0.025 ms, with 64 in pairs 0.019; with
/// 112 in fours 4x512x28x28 -> 128 was the fastest.
inline bool clusters_run_at_once(int64_t blocks, int shares, int multiprocessors) {
  return blocks * 8 <= int64_t{multiprocessors} * (shares <= 2 ? 8 : shares == 4 ? 7 : 6);
}

/// The plan with a tiling; where the tiling does not fit it says so.
inline ChannelClusterWgmmaPlan plan_tiling(const ChannelGemmWgmmaParams& problem, int64_t batch,
                                           int size, int tiles_n, int panels, int shares,
                                           int max_shared_bytes) {
  using Shape = ChannelClusterWgmmaShape;
  ChannelClusterWgmmaPlan plan{};
  ChannelGemmWgmmaParams& p = plan.params.product;
  p = problem;
  plan.tiles_n = tiles_n;
  plan.panels = panels;
  const auto aligned = [](const void* data, int64_t row_bytes) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && row_bytes % 16 == 0;
  };
  const int64_t image_tiles = divide_up(p.m, panels * Shape::kPanel), tiles = batch * image_tiles;
  const int64_t blocks = divide_up(p.n, tiles_n * 64);
  const int64_t chunks = divide_up(int64_t{p.k} * size, Shape::kChunkBytes);
  const int64_t share_chunks = divide_up(chunks, shares);
  if (tiles > std::numeric_limits<int32_t>::max() || blocks > 65535 || tiles == 0 ||
      (shares - 1) * share_chunks >= chunks) {
    return plan;
  }
  plan.params.image_tiles = static_cast<int>(image_tiles);
  plan.params.shares = shares;
  plan.params.share_chunks = static_cast<int>(share_chunks);
  p.chunks = static_cast<int>(chunks);
  p.piece = aligned(p.left, p.m * size) ? 16 : 2;
  p.vectors = aligned(p.result, p.m * size);
  const bool copies = size == 2 && p.right_k_stride == 1 && aligned(p.right, int64_t{p.k} * size);
  plan.packed_bytes = copies ? 0 : blocks * chunks * Shape::weight_bytes(tiles_n);
  const int stage_bytes = Shape::stage_bytes(tiles_n, panels);
  const int rest =
      Shape::raw_bytes(panels, size, p.piece) + tiles_n * 64 * 4 + 2 * Shape::kMaxStages * 8;
  p.stages = std::min((max_shared_bytes - rest) / stage_bytes, Shape::kMaxStages);
  plan.shared_bytes =
      std::max(p.stages * stage_bytes, tiles_n * 64 * Shape::sums_pitch(panels) * 4) + rest;
  plan.grid_x = static_cast<unsigned>(tiles);
  plan.grid_y = static_cast<unsigned>(blocks);
  const int least = Shape::direct(size, p.piece)
                        ? Shape::kPending + ChannelGemmWgmmaShape::kSpareStages
                        : Shape::kLoaders * Shape::kRawStages;
  plan.fits = p.stages >= least && plan.shared_bytes <= max_shared_bytes;
  return plan;
}

}  // namespace channel_cluster_wgmma

/// Plans the product of `problem`, of which the operands, their sizes and strides and the
/// activation are given.
/// @param size  of an element
inline ChannelClusterWgmmaPlan plan_channel_cluster_wgmma(const ChannelGemmWgmmaParams& problem,
                                                          int64_t batch, int size,
                                                          int max_shared_bytes,
                                                          int multiprocessors) {
  namespace detail = channel_cluster_wgmma;
  ChannelClusterWgmmaPlan best{};
  double best_time = std::numeric_limits<double>::max();
  for (int choice = 0; choice < 12; ++choice) {
    const int tiling = choice / 4, shares = 1 << choice % 4;
    const ChannelClusterWgmmaPlan plan = detail::plan_tiling(
        problem, batch, size, tiling == 0 ? 1 : 2, tiling == 1 ? 1 : 2, shares, max_shared_bytes);
    const int64_t blocks = int64_t{plan.grid_x} * plan.grid_y * shares;
    if (plan.fits &&
        (shares == 1 || detail::clusters_run_at_once(blocks, shares, multiprocessors))) {
      const double time = detail::estimate_time(plan, size, multiprocessors);
      if (time < best_time) {
        best_time = time;
        best = plan;
      }
    }
  }
  return best;
}

}  // namespace kernelopt
