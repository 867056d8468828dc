// Tiles, stages and blocks of the product over padded columns. Includes no torch header.
#pragma once

#include "common/math.h"
#include "separable/separable_columns_params.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kernelopt {

struct SeparableColumnsPlan {
  bool fits;
  SeparableColumnsParams params;
  int columns;   // of a product's tile
  bool storers;  // of the product
  unsigned depthwise_blocks;
  unsigned depthwise_threads;
  int depthwise_shared_bytes;
  unsigned product_blocks;
  int product_shared_bytes;
  int64_t column_bytes;
  int64_t packed_bytes;
};

namespace separable_columns {

constexpr int64_t kLargest = std::numeric_limits<int32_t>::max() / 4;

/// Blocks that share the sum of a tile, where the tiles alone leave multiprocessors idle. Only
/// tiles of one panel are shared, and long sums: a cluster takes 0.0027 ms more on an H100, a chunk
/// 0.0002.
inline int choose_shares(int64_t tiles, int columns, int chunks, int multiprocessors) {
  using Shape = SeparableColumnsShape;
  int shares = 1;
  while (columns == Shape::kPanel && chunks >= Shape::kMinSharedChunks &&
         shares < Shape::kMaxShares && tiles * shares * 2 <= multiprocessors &&
         chunks >= shares * 2 * Shape::kMinShareChunks) {
    shares *= 2;
  }
  return shares;
}

/// Whether warps of their own store a tile's results by rows, beside the next tile's products.
inline bool choose_storers(const SeparableColumnsParams& p, int64_t items, int columns,
                           int multiprocessors) {
  const Activation activation = p.problem.activation;
  return items > multiprocessors && columns > SeparableColumnsShape::kPanel &&
         columns <= SeparableColumnsShape::kMaxColumns &&
         p.pitch >= SeparableColumnsShape::kPanel && p.pitch % 8 == 0 &&
         (activation == Activation::kNone || activation == Activation::kRelu);
}

/// Columns of a tile, by the cycles that products, copies from the L2 cache and the ends of tiles
/// take: counted, the ends fitted to times of 64, 128, 160 and 192 columns on an H100:
/// 32x1024x10x10 -> 1536 in fp32 0.0667 ms with 160, 0.0711 with 192. Tiles of 208 columns, of 192
/// channels, only where each multiprocessor has one at most, fitted on an H200: the same problem in
/// bf16 0.0314 instead of 0.0345, in fp32 0.0623 instead of 0.0634, 100x276x25x5 -> 276 in bf16
/// 0.0243 instead of 0.0265; of more turns 32x728x19x19 -> 728 in bf16 0.0594 instead of 0.0521.
inline int choose_columns(const SeparableColumnsParams& p, int size, int multiprocessors) {
  using Shape = SeparableColumnsShape;
  constexpr double kCacheBytes = 5500;
  int best = 0;
  double best_cycles = std::numeric_limits<double>::max();
  for (const int columns :
       {64, 128, Shape::kMiddleColumns, Shape::kMaxColumns, Shape::kWideColumns}) {
    const bool wide = columns == Shape::kWideColumns;
    const int64_t tiles = divide_up(p.total, columns) *
                          divide_up(p.problem.out_channels, Shape::tile_channels(columns));
    if (wide && (tiles > multiprocessors || (size == 4 && p.chunks < Shape::kWideChunks32))) {
      continue;
    }
    const int shares = choose_shares(tiles, columns, p.chunks, multiprocessors);
    const int64_t items = tiles * shares;
    const double turns = static_cast<double>(divide_up(items, multiprocessors));
    const double products =
        columns * (size == 4 ? 6.0 : 4.0) * Shape::product_warps(columns) / Shape::kProductWarps;
    const double copies =
        Shape::stage_bytes(columns) / (kCacheBytes / std::min<double>(items, multiprocessors));
    const double chunk = std::max({products, copies, 300.0}) * (wide && size == 2 ? 1.25 : 1.0);
    // Of 192 columns of fp32 the second half waits for the first one to be stored.
    const bool storers = choose_storers(p, items, columns, multiprocessors);
    const double end = wide                                          ? (size == 4 ? 18500 : 6500)
                       : size == 4 && columns == Shape::kMaxColumns  ? 10000
                       : storers && columns == Shape::kMiddleColumns ? (size == 4 ? 8200 : 3600)
                       : storers                                     ? (size == 4 ? 5200 : 2800)
                                                                     : 1500 + 20 * columns;
    const double cycles = turns * (divide_up(p.chunks, shares) * chunk + end);
    if (cycles < best_cycles) {
      best_cycles = cycles;
      best = columns;
    }
  }
  return best;
}

/// The product's tiles and stages; plan.fits says whether there is room for them.
inline void plan_product(SeparableColumnsPlan& plan, int size, int max_shared_bytes,
                         int multiprocessors) {
  using Shape = SeparableColumnsShape;
  SeparableColumnsParams& p = plan.params;
  plan.columns = choose_columns(p, size, multiprocessors);
  p.channel_blocks =
      static_cast<int>(divide_up(p.problem.out_channels, Shape::tile_channels(plan.columns)));
  int64_t tiles = divide_up(p.total, plan.columns) * p.channel_blocks;
  p.shares = choose_shares(tiles, plan.columns, p.chunks, multiprocessors);
  if (plan.columns == Shape::kPanel && p.shares == 1 && 2 * tiles <= multiprocessors) {
    // A block gets so many bytes of operands, and others are idle: of half the channels it needs
    // two thirds of them. 1x728x19x19 -> 728 on an H100, ms, 0.0092 and 0.0086 in bf16, 0.0132 and
    // 0.0120 in fp32.
    plan.columns = Shape::kHalfPanel;
    p.channel_blocks = static_cast<int>(
        divide_up(p.problem.out_channels, Shape::tile_channels(Shape::kHalfPanel)));
    tiles = divide_up(p.total, Shape::kPanel) * p.channel_blocks;
  }
  p.tile_channels = Shape::tile_channels(plan.columns);
  const int64_t items = tiles * p.shares;
  if (items > kLargest) {
    return;
  }
  p.items = static_cast<int>(items);
  const int stage_bytes = Shape::stage_bytes(plan.columns);
  plan.storers = choose_storers(p, items, plan.columns, multiprocessors);
  const int turn_bytes = plan.storers ? Shape::rows_bytes(plan.columns, size) : Shape::kTurnBytes;
  const int rest = Shape::product_warps(plan.columns) * turn_bytes + Shape::kBarrierBytes;
  p.stages = std::min(Shape::kMaxStages, (max_shared_bytes - rest) / stage_bytes);
  plan.product_shared_bytes = rest + p.stages * stage_bytes;
  plan.product_blocks = static_cast<unsigned>(std::min<int64_t>(items, multiprocessors));
  plan.fits = p.stages >= 2;
}

}  // namespace separable_columns

/// The boxes of both operands.
inline bool encode_columns_maps(const SeparableColumnsParams& p, int size,
                                SeparableColumnsMaps* maps) {
  using Shape = SeparableColumnsShape;
  const uint64_t total = p.total, channels = p.problem.channels, out = p.problem.out_channels;
  const uint64_t parts = size == 4 ? 2 : 1;
  const uint64_t row = p.packs ? uint64_t{Shape::kChunkElements} * p.chunks : channels;
  const uint32_t chunk_k = static_cast<uint32_t>(Shape::kChunkElements / parts);
  const TensorMapShape weights{
      2,
      {row, out, 1, 1},
      {row * 2, out * row * 2, out * row * 2},
      {Shape::kChunkElements, static_cast<uint32_t>(p.tile_channels), 1, 1},
      true};
  const TensorMapShape columns{2,
                               {total, channels, parts, 1},
                               {total * 2, channels * total * 2, parts * channels * total * 2},
                               {Shape::kPanel, chunk_k, static_cast<uint32_t>(parts), 1},
                               true};
  return encode_tensor_map(weights, p.packs ? p.packed : p.problem.pointwise_weight,
                           &maps->weights) &&
         encode_tensor_map(columns, p.columns, &maps->columns);
}

}  // namespace kernelopt
