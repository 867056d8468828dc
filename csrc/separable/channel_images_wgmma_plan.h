// Tiles, stages and grid of the warpgroup kernel of the pointwise product of small contiguous
// images. Includes no torch header.
#pragma once

#include "common/tensor_map.h"
#include "separable/channel_gemm_wgmma_params.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

struct ChannelImagesWgmmaShape {
  // That multiply; one more, of which a single warp is at work, starts the copies: a warp alone
  // would be given as many registers.
  static constexpr int kWarpgroups = 2;
  static constexpr int kProductThreads = kWarpgroups * 128;
  static constexpr int kThreads = kProductThreads + 128;
  static constexpr int kLoadRegisters = ChannelGemmWgmmaShape::kLoadRegisters;
  static constexpr int kProductRegisters = ChannelGemmWgmmaShape::kProductRegisters;
  static constexpr int kChunkBytes = ChannelGemmWgmmaShape::kChunkBytes;  // of a weight's row
  static constexpr int kMaxTilesM = 2;                                    // a warpgroup
  static constexpr int kStoredChannels = 32;  // of the result, that are stored at once
  static constexpr int kStoreBuffers = 2;
  static constexpr int kMinStages = 2, kMaxStages = 8;
  static constexpr int rows(int tiles_m) { return kWarpgroups * tiles_m * 64; }
};

/// `product` has the images as `left`, [images, k, m], with m pixels; the result is [images, n, m].
/// Images of more pixels than a tile has rows are cut into strips, each an image here.
struct ChannelImagesWgmmaParams {
  ChannelGemmWgmmaParams product;
  int strips;  // of an image; 1: it is whole
  int pixels;  // of an image, or of a strip but the last
  int images;
  int tile_images;
  int column_blocks;
  int items;  // tiles of images times blocks of columns
};

struct ChannelImagesWgmmaMaps {
  CUtensorMap left, result;
};

struct ChannelImagesWgmmaPlan {
  bool fits;
  ChannelImagesWgmmaParams params;
  TensorMapShape left_map, result_map;  // of strips
  int tiles_m;
  int block_n;
  int shared_bytes;
  int64_t packed_bytes;
  unsigned grid;
};

namespace channel_images_wgmma {

/// To compare tilings by, in cycles. Counted: the tensor cores do 2048 products a cycle and a
/// fragment of 64 x 16 values takes as long to read and to split as ChannelGemmWgmma's; all
/// multiprocessors get so many bytes from the L2 cache.
struct TilingCosts {
  static constexpr double kFragment = 90;
  static constexpr double kCacheBytes = 4500;
  static constexpr double kStart = 1500;
  static constexpr double kColumn = 6;  // of a column of 64 results, to store it
};

inline double estimate_cycles(const ChannelImagesWgmmaPlan& plan, int size, int multiprocessors) {
  using Shape = ChannelImagesWgmmaShape;
  using Costs = TilingCosts;
  const ChannelImagesWgmmaParams& p = plan.params;
  const double turns = static_cast<double>(divide_up(p.items, multiprocessors));
  const double tiles = Shape::kWarpgroups * plan.tiles_m;
  const double steps = size == 4 ? 2 : 4, products = size == 4 ? 3 : 1;
  const double multiply = tiles * steps * std::max(products * plan.block_n / 2, Costs::kFragment);
  const double bytes = (int64_t{p.tile_images} * p.pixels + plan.block_n) * Shape::kChunkBytes;
  const double copy = bytes / (Costs::kCacheBytes / std::min(p.items, multiprocessors));
  return turns * (p.product.chunks * std::max(multiply, copy) + Costs::kStart +
                  tiles * plan.block_n * Costs::kColumn);
}

/// The plan with a tiling; where the tiling does not fit it says so.
inline ChannelImagesWgmmaPlan plan_tiling(const ChannelGemmWgmmaParams& problem, int64_t batch,
                                          int size, int tiles_m, int block_n, int max_shared_bytes,
                                          int multiprocessors) {
  using Shape = ChannelImagesWgmmaShape;
  ChannelImagesWgmmaPlan plan{};
  ChannelGemmWgmmaParams& p = plan.params.product;
  p = problem;
  plan.tiles_m = tiles_m;
  plan.block_n = block_n;
  const int64_t rows = Shape::rows(tiles_m);
  // Rows of strips lie on 16 bytes.
  const int64_t strips = divide_up(p.m, Shape::rows(Shape::kMaxTilesM));
  const int64_t pixels = strips == 1 ? p.m : round_up(divide_up(p.m, strips), int64_t{16 / size});
  const int64_t images = batch;
  batch *= strips;
  const int64_t image_rows = round_up(pixels, 2);  // pixels are read by pairs
  const int64_t tile_images = std::min(rows / image_rows, batch);
  if (tile_images == 0) {
    return plan;
  }
  const int64_t blocks = divide_up(p.n, block_n);
  const int64_t items = divide_up(batch, tile_images) * blocks;
  const int64_t chunks = divide_up(int64_t{p.k} * size, Shape::kChunkBytes);
  if (items * chunks > std::numeric_limits<int32_t>::max() / 4) {
    return plan;
  }
  plan.params.strips = static_cast<int>(strips);
  plan.params.pixels = static_cast<int>(pixels);
  plan.params.images = static_cast<int>(batch);
  plan.params.tile_images = static_cast<int>(tile_images);
  plan.params.column_blocks = static_cast<int>(blocks);
  plan.params.items = static_cast<int>(items);
  p.chunks = static_cast<int>(chunks);
  // The eight pixels that neighbouring threads read fill eight banks, in 16 bit half of them; a
  // row's four threads shall be eight banks apart, whatever power of two divides the pixels of an
  // image.
  const int64_t quarter = Shape::kChunkBytes / size / 4;
  p.spread = static_cast<int>(std::max<int64_t>(1, quarter / (pixels & -pixels)));
  const int64_t stage_bytes = (rows + block_n) * Shape::kChunkBytes;
  const int64_t rest = Shape::kStoreBuffers * rows * Shape::kStoredChannels * size + block_n * 4 +
                       2 * Shape::kMaxStages * 8;
  p.stages = static_cast<int>(
      std::clamp<int64_t>((max_shared_bytes - rest) / stage_bytes, 0, Shape::kMaxStages));
  plan.shared_bytes = static_cast<int>(rest + p.stages * stage_bytes);
  plan.packed_bytes = blocks * chunks * block_n * Shape::kChunkBytes;
  plan.grid = static_cast<unsigned>(std::min<int64_t>(items, multiprocessors));
  const auto map = [&](int64_t channels, int box_channels) {
    const uint64_t row = p.m * size, image = channels * row;
    return TensorMapShape{
        size,
        {static_cast<uint64_t>(p.m), static_cast<uint64_t>(channels), static_cast<uint64_t>(images),
         1},
        {row, image, image},
        {static_cast<uint32_t>(pixels), static_cast<uint32_t>(box_channels), 1, 1},
        false};
  };
  plan.left_map = map(p.k, Shape::kChunkBytes / size);
  plan.result_map = map(p.n, Shape::kStoredChannels);
  plan.fits = p.stages >= Shape::kMinStages;
  return plan;
}

}  // namespace channel_images_wgmma

/// Plans the product of `problem`, of which the operands, their sizes and strides and the
/// activation are given.
/// @param size  of an element
inline ChannelImagesWgmmaPlan plan_channel_images_wgmma(const ChannelGemmWgmmaParams& problem,
                                                        int64_t batch, int size,
                                                        int max_shared_bytes, int multiprocessors) {
  namespace detail = channel_images_wgmma;
  const auto aligned = [&](const void* data, int64_t channels) {
    return reinterpret_cast<uintptr_t>(data) % 16 == 0 && channels * problem.m * size % 16 == 0;
  };
  ChannelImagesWgmmaPlan best{};
  if (batch == 0 || batch > std::numeric_limits<int32_t>::max() ||
      (problem.m > ChannelImagesWgmmaShape::rows(ChannelImagesWgmmaShape::kMaxTilesM) &&
       (size != 4 || problem.m % 4 != 0)) ||
      !aligned(problem.left, problem.k) || !aligned(problem.result, problem.n)) {
    return best;
  }
  double best_cycles = std::numeric_limits<double>::max();
  for (int tiles_m = 1; tiles_m <= ChannelImagesWgmmaShape::kMaxTilesM; ++tiles_m) {
    for (int block_n = 64; block_n <= 128; block_n += 32) {
      const ChannelImagesWgmmaPlan plan = detail::plan_tiling(
          problem, batch, size, tiles_m, block_n, max_shared_bytes, multiprocessors);
      const double cycles = detail::estimate_cycles(plan, size, multiprocessors);
      if (plan.fits && cycles < best_cycles) {
        best_cycles = cycles;
        best = plan;
      }
    }
  }
  return best;
}

}  // namespace kernelopt
