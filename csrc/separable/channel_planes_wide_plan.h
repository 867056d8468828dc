// Tiles, stages and grid of the kernel of wide tiles of the pointwise product of contiguous images.
// Includes no torch header.
#pragma once

#include "common/tensor_map.h"
#include "separable/channel_gemm_wgmma_params.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

struct ChannelPlanesWideShape {
  static constexpr int kWarpgroups = 2;  // that multiply; one more loads
  static constexpr int kWarps = kWarpgroups * 4;
  static constexpr int kThreads = (kWarpgroups + 1) * 128;
  // 104 + 2 * 200 registers a thread of each warpgroup fit the multiprocessor's 512.
  static constexpr int kLoadRegisters = 104;
  static constexpr int kProductRegisters = 200;
  static constexpr int kChunkBytes = ChannelGemmWgmmaShape::kChunkBytes;  // of a weight's row
  static constexpr int kPixels = 256;                                     // of a tile
  static constexpr int kPanelPixels = 64;
  static constexpr int kPanels = kPixels / kPanelPixels;
  static constexpr int kStageBytes = kPixels * kChunkBytes;
  // More chunks on their way take longer: with six 16x128x1024x1024 -> 64 2.27 ms in 16 bit, with
  // three 2.22.
  static constexpr int kMaxStages = 4;
  static constexpr int max_stages(int tiles_m) { return tiles_m + 2; }
  static constexpr int kMinStages = 3, kMinStagesSplit = 2;
  static constexpr int kRawStages = 2;  // fp32: chunks on their way, as memory has them
  static constexpr int weight_bytes(int tiles_m) { return tiles_m * 64 * kChunkBytes; }
};

/// A warp's rows of the result on their way through shared memory: 512 bytes, or what a tile has,
/// of eight planes.
struct WidePlanesStoreShape {
  static constexpr int kRows = 8;
  static constexpr int tile_pixels(int tiles_m) { return tiles_m * 128; }
  static constexpr int pixels(int tiles_m, int size) {
    return tile_pixels(tiles_m) * size < 512 ? tile_pixels(tiles_m) : 512 / size;
  }
  // The four threads of a row write four times two neighbours; the next rows use other banks.
  static constexpr int pitch(int tiles_m, int size) { return (pixels(tiles_m, size) + 8) * size; }
  static constexpr int warp_bytes(int tiles_m, int size) { return kRows * pitch(tiles_m, size); }
};

struct WidePlanesPolicy {
  // docs/tuning/pointwise.md has the times: with fewer tiles a block, channels for more than one
  // block, longer sums or few channels on both sides narrow tiles are as fast or faster.
  static constexpr int64_t kMaxChannels = 128, kMaxSum = 128;
  static constexpr int64_t kMinChannelsAndSum = 48;
  static constexpr int64_t kMinTiles = 15;  // a multiprocessor

  /// @param pixels    of an image
  /// @param channels  of the result
  /// @param sum       channels of the sum
  static constexpr bool pays(int64_t batch, int64_t pixels, int64_t channels, int64_t sum,
                             int64_t multiprocessors) {
    return pixels >= ChannelPlanesWideShape::kPixels && channels <= kMaxChannels &&
           sum <= kMaxSum && channels + sum >= kMinChannelsAndSum &&
           batch * divide_up(pixels, ChannelPlanesWideShape::kPixels) >=
               kMinTiles * multiprocessors;
  }
};

/// `product` has the images as `left`, [batch, k, m], with m pixels; the result is [batch, n, m].
struct ChannelPlanesWideParams {
  CUtensorMap map;  // of the images
  ChannelGemmWgmmaParams product;
  int image_tiles;
};

struct ChannelPlanesWidePlan {
  bool fits;
  ChannelPlanesWideParams params;
  TensorMapShape map;
  int tiles_m;  // of 64 channels of the result, a block
  int shared_bytes;
  int64_t packed_bytes;
  unsigned grid_x;  // blocks that share the tiles
  unsigned grid_y;  // blocks of channels
};

/// Plans the product of `problem`, of which the operands, their sizes and strides and the
/// activation are given.
/// @param size  of an element
inline ChannelPlanesWidePlan plan_channel_planes_wide(const ChannelGemmWgmmaParams& problem,
                                                      int64_t batch, int size, int max_shared_bytes,
                                                      int multiprocessors) {
  using Shape = ChannelPlanesWideShape;
  ChannelPlanesWidePlan plan{};
  ChannelGemmWgmmaParams& p = plan.params.product;
  p = problem;
  const auto aligned = [](const void* data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; };
  const int64_t image_tiles = divide_up(p.m, Shape::kPixels), tiles = batch * image_tiles;
  const int64_t chunks = divide_up(int64_t{p.k} * size, Shape::kChunkBytes);
  constexpr int64_t kLargest = std::numeric_limits<int32_t>::max() / 4;
  if (!aligned(p.left) || !aligned(p.result) || p.m * size % 16 != 0 || tiles == 0 ||
      tiles * chunks > kLargest || p.m > kLargest) {
    return plan;
  }
  plan.params.image_tiles = static_cast<int>(image_tiles);
  p.row_tiles = static_cast<int>(tiles);
  p.chunks = static_cast<int>(chunks);
  p.vectors = true;
  const bool split = size == 4;
  plan.tiles_m = p.n > 64 ? 2 : 1;
  const int rows = plan.tiles_m * 64;
  const int raw_stages = split ? Shape::kRawStages : 0;
  const int64_t rest = chunks * Shape::weight_bytes(plan.tiles_m) +
                       raw_stages * Shape::kStageBytes +
                       Shape::kWarps * WidePlanesStoreShape::warp_bytes(plan.tiles_m, size) +
                       rows * 4 + (Shape::kMaxStages + Shape::kRawStages) * 4 +
                       (2 * Shape::kMaxStages + Shape::kRawStages + 1) * 8;
  p.stages = static_cast<int>(std::clamp<int64_t>((max_shared_bytes - rest) / Shape::kStageBytes, 0,
                                                  Shape::max_stages(plan.tiles_m)));
  if (p.stages < (split ? Shape::kMinStagesSplit : Shape::kMinStages)) {
    return plan;
  }
  const int64_t blocks = divide_up(p.n, rows);
  plan.packed_bytes = blocks * chunks * Shape::weight_bytes(plan.tiles_m);
  plan.shared_bytes = static_cast<int>(rest + p.stages * Shape::kStageBytes);
  plan.grid_y = static_cast<unsigned>(blocks);
  plan.grid_x = static_cast<unsigned>(std::clamp<int64_t>(multiprocessors / blocks, 1, tiles));
  const uint64_t plane = p.m * size;
  plan.map = {
      size,
      {static_cast<uint64_t>(p.m), static_cast<uint64_t>(p.k), static_cast<uint64_t>(batch), 1},
      {plane, plane * p.k, plane * p.k * batch},
      {static_cast<uint32_t>(split ? Shape::kPixels : Shape::kPanelPixels),
       static_cast<uint32_t>(Shape::kChunkBytes / size), 1, 1},
      !split};
  plan.fits = blocks <= 65535;
  return plan;
}

}  // namespace kernelopt
