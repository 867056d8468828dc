// How a 3x3 separable convolution of wide fp32 images is cut for the kernel that slides down rows.
// Includes no torch header.
#pragma once

#include "common/math.h"
#include "common/tensor_map.h"
#include "separable/separable_row_groups.h"

#include <algorithm>

namespace kernelopt {

struct SeparableRowsShape {
  static constexpr int kProductThreads = 256;  // two warpgroups multiply and store
  static constexpr int kOperandThreads = 256;  // eight warps compute depthwise values
  static constexpr int kThreads = kProductThreads + kOperandThreads;
  static constexpr int kProductWarps = kProductThreads / 32;
  static constexpr int kProductRegisters = 96, kOperandRegisters = 160;

  static constexpr int kLaneColumns = 4;  // 16 bytes
  static constexpr int kColumns = 32 * kLaneColumns;
  static constexpr int kMaxChannels = 64, kMaxSlots = 128;
  static constexpr int kChunkChannels = 16;  // the k of one product
  static constexpr int kOperands = 2;        // buffers of a row's depthwise values
  static constexpr int kTapPitch = 12;       // of a channel's nine taps and its bias
  static constexpr int kWarpSlots = 16;      // output channels of a product warp
  // Bytes between the rows of results of a product warp: its lanes' pairs meet no bank twice.
  static constexpr int kResultPadding = 32;
};

struct SeparableRowsParams {
  SeparableWgmmaProblem problem;
  int tile_width, tiles_x;  // columns of a block, at most kColumns
  int groups;               // of consecutive rows of all images
  int chunks;               // of kChunkChannels input channels
  int slots;                // output channels: 64 or 128
  int tap_pitch;
  bool boxes;  // results leave as boxes of SeparableRowsMaps, else row by row

  /// Of 64 columns: a row of 128 bytes a channel.
  KERNELOPT_HOST_DEVICE int panel_bytes() const {
    return chunks * SeparableRowsShape::kChunkChannels * 128;
  }
  /// Of a row: two parts of two panels.
  KERNELOPT_HOST_DEVICE int operand_bytes() const { return 4 * panel_bytes(); }
  /// Both parts.
  KERNELOPT_HOST_DEVICE int weight_bytes() const {
    return chunks * SeparableRowsShape::kChunkChannels * slots * 4;
  }
  /// That a product warp has.
  KERNELOPT_HOST_DEVICE int product_columns() const {
    return SeparableRowsShape::kColumns / (slots == 128 ? 1 : 2);
  }
  /// Of a product warp.
  KERNELOPT_HOST_DEVICE int result_bytes() const {
    return SeparableRowsShape::kWarpSlots *
           (product_columns() * 4 + SeparableRowsShape::kResultPadding);
  }
};

/// The output as [n, o, y and tile, column of the tile], of the columns that each product warpgroup
/// has. A box has a warp's rows with the padding between them, which lies outside and is left out.
struct SeparableRowsMaps {
  CUtensorMap outputs[2];
};

struct SeparableRowsPlan {
  bool fits = false;
  int shared_bytes = 0;
  unsigned grid = 0;
  SeparableRowsParams params{};
};

/// Where this kernel is faster than that of tiles, by measurement (docs/tuning/separable.md).
struct SeparableRowsPolicy {
  static bool takes(const SeparableRowsParams& p) {
    const int channels = p.problem.channels + p.problem.out_channels;
    return p.tile_width >= kMinTileWidth &&
           channels * p.tile_width * static_cast<int>(sizeof(float)) >= kMinRowBytes;
  }

  // Lanes without columns. H100, ms, beside tiles: 976x64x64x64 -> 128: 1.39, 1.36; but
  // 156x64x160x160, in tiles of 80 columns: 1.34, 1.61.
  static constexpr int kMinTileWidth = 80;
  // Of a row's input and output in a block: a row takes some 2.4 us, however short. 36 kB:
  // 318x16x112x112 -> 64: 0.56, 0.51; 39 kB: 318x24x112x112 -> 64: 0.63, 0.69.
  static constexpr int kMinRowBytes = 38 * 1024;
};

/// Plans a problem whose sizes fit 32 bits; `fits` is false where the kernel cannot take it.
inline SeparableRowsPlan plan_separable_rows(const SeparableWgmmaProblem& problem,
                                             int max_shared_bytes, int multiprocessors) {
  using Shape = SeparableRowsShape;
  SeparableRowsPlan plan;
  SeparableRowsParams& p = plan.params;
  p.problem = problem;
  if (!slides_down_rows(problem, Shape::kLaneColumns) || problem.channels > Shape::kMaxChannels ||
      problem.out_channels > Shape::kMaxSlots) {
    return plan;
  }
  // Of much the same width, for all blocks pass over equally many rows; of whole 32 bytes.
  p.tiles_x = static_cast<int>(divide_up(problem.w.output_size, Shape::kColumns));
  p.tile_width = static_cast<int>(round_up(divide_up(problem.w.output_size, p.tiles_x), 8));
  p.groups = separable_row_groups(problem, p.tiles_x, multiprocessors);
  p.chunks = static_cast<int>(divide_up(problem.channels, Shape::kChunkChannels));
  p.slots = problem.out_channels > Shape::kMaxSlots / 2 ? Shape::kMaxSlots : Shape::kMaxSlots / 2;
  p.tap_pitch = Shape::kTapPitch;
  plan.shared_bytes =
      Shape::kOperands * p.operand_bytes() + p.weight_bytes() +
      Shape::kProductWarps * p.result_bytes() +
      static_cast<int>(sizeof(float)) * (p.chunks * Shape::kChunkChannels * Shape::kTapPitch) +
      2 * Shape::kOperands * 8;
  plan.grid = static_cast<unsigned>(p.tiles_x) * p.groups;
  plan.fits = plan.shared_bytes <= max_shared_bytes;
  return plan;
}

/// Where all tiles are as wide as a block's. False where the driver refuses them.
inline bool encode_rows_maps(const SeparableRowsParams& p, SeparableRowsMaps* maps) {
  using Shape = SeparableRowsShape;
  const uint64_t tiles = p.tiles_x, width = p.tile_width, height = p.problem.h.output_size;
  const uint64_t channels = p.problem.out_channels, batch = p.problem.batch;
  const uint64_t plane = tiles * width * height * sizeof(float);
  const int columns = p.product_columns();
  if (p.problem.w.output_size != p.tiles_x * p.tile_width ||
      p.tile_width <= Shape::kColumns - columns) {
    return false;
  }
  const uint32_t pitch = columns + Shape::kResultPadding / sizeof(float);
  bool encoded = true;
  for (int begin = 0; begin < Shape::kColumns; begin += columns) {
    const uint64_t inside = std::min(columns, p.tile_width - begin);
    const TensorMapShape shape{4,
                               {inside, tiles * height, channels, batch},
                               {width * sizeof(float), plane, plane * channels},
                               {pitch, 1, Shape::kWarpSlots, 1},
                               false};
    encoded = encoded && encode_tensor_map(shape, static_cast<float*>(p.problem.output) + begin,
                                           &maps->outputs[begin / columns]);
  }
  return encoded;
}

}  // namespace kernelopt
