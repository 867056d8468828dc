// Blocks and stages of the two kernels of a separable convolution over padded columns. Includes no
// torch header.
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
  int columns;  // of a product's tile
  unsigned depthwise_blocks;
  unsigned depthwise_threads;
  int depthwise_shared_bytes;
  unsigned product_blocks;
  int product_shared_bytes;
  int64_t column_bytes;
  int64_t packed_bytes;
};

/// Where the two kernels are faster than others, by measurement (docs/tuning/separable.md).
struct SeparableColumnsPolicy {
  // Small contiguous images have a product of their own where their channels fill 16 bytes.
  static constexpr int64_t kImagePixels = 256;
  // That one is slow for so many weights: 32x1024x10x10 -> 1536 in bf16, ms: 0.039, 0.047.
  static constexpr int64_t kManyWeights = 1 << 20, kFewPixels = 64;
  // Depthwise values: beyond the first number planes off 16 bytes need many channels to be
  // multiplied here, beyond the second one memory decides, and the other depthwise kernels are
  // nearer to its speed: 32x64x147x147 -> 128 in bf16 on an H200 0.23, by the others on an H100
  // 0.20.
  static constexpr int64_t kFewValues = 1 << 21, kManyValues = 1 << 25, kManyChannels = 160;
  // Pixels a multiprocessor, of planes on 16 bytes: below them the one kernel's blocks are too few,
  // and the product of planes has too few tiles.
  static constexpr int64_t kOneKernelPixels = 128, kPlanesPixels = 64;
  static constexpr int kLeastChannels = 32, kMostChannels = 128;

  static bool takes(const SeparableWgmmaProblem& problem, int size, int multiprocessors) {
    const int64_t plane = int64_t{problem.h.output_size} * problem.w.output_size;
    const int64_t channels = problem.channels, out_channels = problem.out_channels;
    const int64_t pixels = problem.batch * plane, values = pixels * channels;
    const auto on_16_bytes = [&](int64_t elements) { return elements * size % 16 == 0; };
    if (problem.h.kernel_size != 3 || problem.w.kernel_size != 3) {
      return false;
    }
    const bool images =
        plane <= kImagePixels && on_16_bytes(plane * channels) && on_16_bytes(plane * out_channels);
    if (images && (channels > kMostChannels || !on_16_bytes(plane))) {
      return plane > kFewPixels && channels * out_channels >= kManyWeights &&
             values <= (size == 2 ? kManyValues : kFewValues / 8);
    }
    if (!on_16_bytes(plane)) {
      return values <= kFewValues || (values <= kManyValues && channels >= kManyChannels);
    }
    if (out_channels <= kMostChannels) {
      return pixels <= kOneKernelPixels * multiprocessors && channels >= kLeastChannels &&
             channels <= kMostChannels;
    }
    return pixels <= kPlanesPixels * multiprocessors && plane > kImagePixels &&
           (size == 4 || channels <= kMostChannels / 2);
  }
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

/// Columns of a tile, by the cycles that products, copies from the L2 cache and the ends of tiles
/// take: counted, the ends fitted to times of 64, 128 and 192 columns on an H100.
inline int choose_columns(const SeparableColumnsParams& p, int size, int multiprocessors) {
  using Shape = SeparableColumnsShape;
  constexpr double kCacheBytes = 5500, kEnd = 20, kStart = 1500;
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
    const double cycles =
        turns * (divide_up(p.chunks, shares) * std::max({products, copies, 300.0}) +
                 kEnd * columns + kStart);
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
  constexpr int kWide = 32;
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
  p.strip_columns = many && size == 2 && w.output_size >= kWide ? 2 : 1;
  const int width = static_cast<int>(divide_up(w.output_size, p.strip_columns));
  const int fitting = std::max(Shape::kDepthwiseThreads / width, 1);
  p.strip_blocks = static_cast<int>(divide_up(strips, fitting));
  p.block_strips = static_cast<int>(divide_up(strips, p.strip_blocks));
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
  plan.depthwise_shared_bytes = static_cast<int>(p.block_planes * source_bytes + 48);
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
  const int rest = Shape::kWarpgroups * 4 * Shape::kTurnBytes + 2 * Shape::kMaxStages * 8;
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
