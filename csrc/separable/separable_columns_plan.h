// Blocks and stages of the two kernels of a separable convolution over padded columns. Includes no
// torch header.
#pragma once

#include "common/math.h"
#include "separable/separable_columns_policy.h"

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
         p.pitch >= SeparableColumnsShape::kPanel &&
         (activation == Activation::kNone || activation == Activation::kRelu);
}

/// Columns of a tile, by the cycles that products, copies from the L2 cache and the ends of tiles
/// take: counted, the ends fitted to times of 64, 128 and 192 columns on an H100.
inline int choose_columns(const SeparableColumnsParams& p, int size, int multiprocessors) {
  using Shape = SeparableColumnsShape;
  constexpr double kCacheBytes = 5500;
  int best = 0;
  double best_cycles = std::numeric_limits<double>::max();
  for (int columns = 64; columns <= Shape::kMaxColumns; columns += 64) {
    const int64_t tiles = divide_up(p.total, columns) * p.channel_blocks;
    const int shares = choose_shares(tiles, columns, p.chunks, multiprocessors);
    const int64_t items = tiles * shares;
    const double turns = static_cast<double>(divide_up(items, multiprocessors));
    const double products = columns * (size == 4 ? 6.0 : 4.0);
    const double copies =
        Shape::stage_bytes(columns) / (kCacheBytes / std::min<double>(items, multiprocessors));
    // Of 192 columns of fp32 the second half waits for the first one to be stored.
    const bool storers = choose_storers(p, items, columns, multiprocessors);
    const double end = size == 4 && columns == Shape::kMaxColumns ? 10000
                       : storers                                  ? (size == 4 ? 5200 : 2800)
                                                                  : 1500 + 20 * columns;
    const double cycles =
        turns * (divide_up(p.chunks, shares) * std::max({products, copies, 300.0}) + end);
    if (cycles < best_cycles) {
      best_cycles = cycles;
      best = columns;
    }
  }
  return best;
}

}  // namespace separable_columns

/// @param size  of an element
inline SeparableColumnsPlan plan_separable_columns(const SeparableWgmmaProblem& problem, int size,
                                                   int max_shared_bytes, int multiprocessors) {
  using Shape = SeparableColumnsShape;
  constexpr int kManyThreads = 1024;  // of a multiprocessor
  SeparableColumnsPlan plan{};
  SeparableColumnsParams& p = plan.params;
  p.problem = problem;
  const SeparableAxis &h = problem.h, &w = problem.w;
  const int parts = size == 4 ? 2 : 1, chunk_k = Shape::kChunkElements / parts;
  const int64_t plane = int64_t{h.output_size} * w.output_size, pitch = round_up(plane, 8);
  const int64_t total = pitch * problem.batch;
  const int64_t source_planes = int64_t{problem.batch} * problem.channels;
  constexpr int64_t kLargest = std::numeric_limits<int32_t>::max() / 4;
  if (total > kLargest || source_planes > kLargest ||
      int64_t{problem.out_channels} * round_up(problem.channels, chunk_k) > kLargest) {
    return plan;
  }
  p.plane = static_cast<int>(plane);
  p.pitch = static_cast<int>(pitch);
  p.total = static_cast<int>(total);
  p.chunks = static_cast<int>(divide_up(problem.channels, chunk_k));
  p.source_planes = static_cast<int>(source_planes);
  const auto strips_of = [&](int rows) { return static_cast<int>(divide_up(h.output_size, rows)); };
  // Long strips read fewer rows twice, where they leave enough threads and do not end in vain.
  const bool many = Shape::is_plain(problem, 3, 1) &&
                    strips_of(Shape::kManyRows) * 2 <= strips_of(Shape::kFewRows) + 1 &&
                    source_planes * strips_of(Shape::kManyRows) * w.output_size >=
                        int64_t{kManyThreads} * multiprocessors;
  p.strip_rows = many ? Shape::kManyRows : Shape::kFewRows;
  const int strips = strips_of(p.strip_rows);
  // Two columns of 32-bit elements would be read and written with gaps.
  p.strip_columns = many && size == 2 ? 2 : 1;
  const int width = static_cast<int>(divide_up(w.output_size, p.strip_columns));
  const int fitting =
      std::max((many ? Shape::kManyRowsThreads : Shape::kDepthwiseThreads) / width, 1);
  p.strip_blocks = static_cast<int>(divide_up(strips, fitting));
  p.block_strips = static_cast<int>(divide_up(strips, p.strip_blocks));
  p.strip_blocks = static_cast<int>(divide_up(strips, p.block_strips));  // none without rows
  p.pitches = FastDivisor::of(static_cast<uint32_t>(pitch));
  p.channels = FastDivisor::of(static_cast<uint32_t>(problem.channels));
  p.widths = FastDivisor::of(static_cast<uint32_t>(width));
  p.strips = FastDivisor::of(static_cast<uint32_t>(p.block_strips));
  const int block_rows = std::min<int>(h.output_size, p.block_strips * p.strip_rows);
  const int source_rows = p.strip_blocks == 1
                              ? h.input_size
                              : std::min(h.input_size, (block_rows - 1) * h.stride +
                                                           (h.kernel_size - 1) * h.dilation + 1);
  const int64_t source_bytes = int64_t{source_rows} * w.input_size * size;
  if (source_bytes > Shape::kMaxSourceBytes - 48) {
    return plan;
  }
  // As many planes as have columns for the threads, but blocks for all multiprocessors.
  const int64_t most =
      std::min({fitting / int64_t{strips}, (Shape::kMaxSourceBytes - 48) / source_bytes,
                divide_up(source_planes, multiprocessors)});
  p.block_planes =
      p.strip_blocks > 1 ? 1 : static_cast<int>(std::clamp<int64_t>(most, 1, source_planes));
  const int64_t block_items = int64_t{p.block_planes} * p.block_strips * width;
  plan.depthwise_threads =
      static_cast<unsigned>(std::min<int64_t>(round_up(block_items, 32), Shape::kDepthwiseThreads));
  p.stage_offset =
      static_cast<int>(round_up(Shape::kDepthwiseHead + p.block_planes * source_bytes + 32, 16));
  p.stage_elements = static_cast<int>(
      p.strip_blocks == 1 ? p.block_planes * pitch : round_up(block_rows * w.output_size, 8) + 16);
  // One plane where a block has a part of it.
  p.units = FastDivisor::of(p.strip_blocks == 1 ? static_cast<uint32_t>(pitch / 8) : 1u << 20);
  plan.depthwise_shared_bytes =
      p.stage_offset + (Shape::stages(p.strip_rows) ? p.stage_elements * 2 * parts : 0);
  const int64_t source_blocks = divide_up(source_planes, p.block_planes) * p.strip_blocks;
  // 16-bit rows that begin on 16 bytes are multiplied as they are.
  p.packs = parts == 2 || problem.channels % 8 != 0 ||
            reinterpret_cast<uintptr_t>(problem.pointwise_weight) % 16 != 0;
  const int64_t pack_vectors = int64_t{problem.out_channels} * p.chunks * chunk_k / 8;
  const int64_t pack_blocks = p.packs ? divide_up(pack_vectors, plan.depthwise_threads) : 0;
  if (source_blocks + pack_blocks > kLargest) {
    return plan;
  }
  p.source_blocks = static_cast<int>(source_blocks);
  plan.depthwise_blocks = static_cast<unsigned>(source_blocks + pack_blocks);

  p.channel_blocks = static_cast<int>(divide_up(problem.out_channels, Shape::kChannels));
  plan.columns = separable_columns::choose_columns(p, size, multiprocessors);
  const int64_t tiles = divide_up(total, plan.columns) * p.channel_blocks;
  p.shares = separable_columns::choose_shares(tiles, plan.columns, p.chunks, multiprocessors);
  const int64_t items = tiles * p.shares;
  if (items > kLargest) {
    return plan;
  }
  p.items = static_cast<int>(items);
  const int stage_bytes = Shape::stage_bytes(plan.columns);
  plan.storers = separable_columns::choose_storers(p, items, plan.columns, multiprocessors);
  const int turn_bytes = plan.storers ? Shape::rows_bytes(plan.columns, size) : Shape::kTurnBytes;
  const int rest = Shape::kProductWarps * turn_bytes + Shape::kBarrierBytes;
  p.stages = std::min(Shape::kMaxStages, (max_shared_bytes - rest) / stage_bytes);
  plan.product_shared_bytes = rest + p.stages * stage_bytes;
  plan.product_blocks = static_cast<unsigned>(std::min<int64_t>(items, multiprocessors));
  plan.column_bytes = total * problem.channels * 2 * parts;
  plan.packed_bytes =
      p.packs ? int64_t{problem.out_channels} * p.chunks * Shape::kChunkElements * 2 : 0;
  plan.fits = p.stages >= 2;
  return plan;
}

/// The boxes of both operands.
inline bool encode_columns_maps(const SeparableColumnsParams& p, int size,
                                SeparableColumnsMaps* maps) {
  using Shape = SeparableColumnsShape;
  const uint64_t total = p.total, channels = p.problem.channels, out = p.problem.out_channels;
  const uint64_t parts = size == 4 ? 2 : 1;
  const uint64_t row = p.packs ? uint64_t{Shape::kChunkElements} * p.chunks : channels;
  const uint32_t chunk_k = static_cast<uint32_t>(Shape::kChunkElements / parts);
  const TensorMapShape weights{2,
                               {row, out, 1, 1},
                               {row * 2, out * row * 2, out * row * 2},
                               {Shape::kChunkElements, Shape::kChannels, 1, 1},
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
