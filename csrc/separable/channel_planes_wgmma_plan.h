// Tiles, stages and grid of the warpgroup kernel of the pointwise product of contiguous images.
// Includes no torch header.
#pragma once

#include "separable/channel_gemm_wgmma_params.h"
#include "separable/split_chunks.cuh"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

struct ChannelPlanesWgmmaShape {
  static constexpr int kWarpgroups = 2;  // that multiply; one more loads
  static constexpr int kThreads = (kWarpgroups + 1) * 128;
  // 104 + 2 * 200 registers a thread of each warpgroup fit the multiprocessor's 512.
  static constexpr int kLoadRegisters = 104;
  static constexpr int kProductRegisters = 200;
  static constexpr int kChunkBytes = ChannelGemmWgmmaShape::kChunkBytes;  // of a weight's row
  static constexpr int kPixels = 128;                                     // of a tile
  static constexpr int kStageBytes = kPixels * kChunkBytes;
  static constexpr int kPending = 5;  // stages on their way, in 16 bit
  static constexpr int weight_bytes(int tiles_m) { return tiles_m * 64 * kChunkBytes; }
};

/// `product` has the images as `left`, [batch, k, m], with m pixels; the result is [batch, n, m].
struct ChannelPlanesWgmmaParams {
  ChannelGemmWgmmaParams product;
  int image_tiles;
};

struct ChannelPlanesWgmmaPlan {
  bool fits;
  ChannelPlanesWgmmaParams params;
  int tiles_m;  // of 64 channels of the result, a block
  int shared_bytes;
  int64_t packed_bytes;
  unsigned grid_x;  // blocks that share the tiles
  unsigned grid_y;  // blocks of channels
};

/// Plans the product of `problem`, of which the operands, their sizes and strides and the
/// activation are given.
/// @param size  of an element
inline ChannelPlanesWgmmaPlan plan_channel_planes_wgmma(const ChannelGemmWgmmaParams& problem,
                                                        int64_t batch, int size,
                                                        int max_shared_bytes, int multiprocessors) {
  using Shape = ChannelPlanesWgmmaShape;
  constexpr int kMaxStages = 12;
  ChannelPlanesWgmmaPlan plan{};
  ChannelGemmWgmmaParams& p = plan.params.product;
  p = problem;
  const auto aligned = [](const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; };
  const int64_t image_tiles = divide_up(p.m, Shape::kPixels), tiles = batch * image_tiles;
  const int64_t chunks = divide_up(int64_t{p.k} * size, Shape::kChunkBytes);
  if (!aligned(p.left) || !aligned(p.result) || p.m * size % 16 != 0 || tiles == 0 ||
      tiles * chunks > std::numeric_limits<int32_t>::max() / 4) {
    return plan;
  }
  plan.params.image_tiles = static_cast<int>(image_tiles);
  p.row_tiles = static_cast<int>(tiles);
  p.chunks = static_cast<int>(chunks);
  p.vectors = true;
  const int raw_bytes = size == 4 ? SplitChunkShape::kRawStages * Shape::kStageBytes : 0;
  const int min_stages = size == 4 ? 3 : Shape::kPending + ChannelGemmWgmmaShape::kSpareStages;
  for (plan.tiles_m = p.n > 64 ? 2 : 1; plan.tiles_m > 0; --plan.tiles_m) {
    const int64_t rest = chunks * Shape::weight_bytes(plan.tiles_m) + raw_bytes +
                         plan.tiles_m * 64 * 4 + (2 * kMaxStages + Shape::kWarpgroups + 1) * 8;
    p.stages = static_cast<int>(
        std::clamp<int64_t>((max_shared_bytes - rest) / Shape::kStageBytes, 0, kMaxStages));
    if (p.stages >= min_stages) {
      const int64_t blocks = divide_up(p.n, plan.tiles_m * 64);
      plan.packed_bytes = blocks * chunks * Shape::weight_bytes(plan.tiles_m);
      plan.shared_bytes = static_cast<int>(rest + p.stages * Shape::kStageBytes);
      plan.grid_y = static_cast<unsigned>(blocks);
      plan.grid_x = static_cast<unsigned>(std::clamp<int64_t>(multiprocessors / blocks, 1, tiles));
      plan.fits = blocks <= 65535;
      return plan;
    }
  }
  return plan;
}

}  // namespace kernelopt
