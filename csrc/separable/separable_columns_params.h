// What the two kernels of a separable convolution over padded columns are told, and their shapes.
// Includes no torch header.
#pragma once

#include "common/tensor_map.h"
#include "elementwise/fast_iteration.h"
#include "separable/separable_wgmma_params.h"

#include <cstdint>

namespace kernelopt {

struct SeparableColumnsShape {
  // Depthwise: a thread computes so many results of one or two columns, one below the other; a
  // block has as many threads as columns, up to this.
  static constexpr int kManyRows = 10, kFewRows = 5;
  static constexpr int kDepthwiseThreads = 384;
  // Of many rows a thread; 128, 192, 256 and 384 of them take 0.0807, 0.0786, 0.0815 and 0.0800 ms
  // for 32x256x37x37 -> 728 in bf16 on an H100, 0.156, 0.149, 0.148 and 0.152 in fp32.
  static constexpr int kManyRowsThreads = 192;
  static constexpr int kMaxSourceBytes = 48 << 10;
  static constexpr int kDepthwiseHead = 32;  // of shared memory, before the source
  // Without a depthwise half: threads of a block that writes images as columns, and its source.
  static constexpr int kPackThreads = 256;
  static constexpr int kPackSourceBytes = 24 << 10;
  /// Blocks of a multiprocessor, as their registers allow.
  static constexpr int depthwise_blocks(int strip_columns) { return strip_columns == 2 ? 3 : 4; }
  /// Whether a block puts its results together in shared memory.
  static constexpr bool stages(int strip_rows) { return strip_rows == kManyRows; }
  /// Whether the depthwise kernels are of this size and stride along both axes, without dilation.
  static constexpr bool is_plain(const SeparableWgmmaProblem& problem, int size, int stride) {
    const SeparableAxis &h = problem.h, &w = problem.w;
    return h.kernel_size == size && w.kernel_size == size && h.stride == stride &&
           w.stride == stride && h.dilation == 1 && w.dilation == 1;
  }

  // Product: two warpgroups multiply 64 channels of the result each, or halves of a panel with the
  // same ones, and a warp loads.
  static constexpr int kWarpgroups = 2;
  static constexpr int kProductThreads = kWarpgroups * 128 + 32;
  static constexpr int kProductWarps = kWarpgroups * 4;
  // With storers: a warpgroup of which one warp loads, one that stores, and registers to suit.
  static constexpr int kStorerThreads = kWarpgroups * 128 + 256;
  static constexpr int kLoadRegisters = 40, kStoreRegisters = 80, kProductRegisters = 192;
  static constexpr int kChannels = kWarpgroups * 64;
  static constexpr int kChunkBytes = 128;  // of a weight's row
  static constexpr int kPanel = 64;        // columns whose 128 bytes lie together
  static constexpr int kPanelBytes = 8192;
  static constexpr int kMaxColumns = 192, kMiddleColumns = 160;
  // Of tiles that three warpgroups multiply, of 192 channels; one of their threads loads, so that
  // they have registers enough.
  static constexpr int kWideColumns = 208, kWideWarpgroups = 3;
  static constexpr int kWideThreads = kWideWarpgroups * 128;
  // Of a sum in fp32: 24x256x19x19 -> 576, eight of them, on an H200 0.0345 ms instead of 0.0330.
  static constexpr int kWideChunks32 = 16;
  static constexpr int product_warps(int columns) {
    return (columns == kWideColumns ? kWideWarpgroups : kWarpgroups) * 4;
  }
  static constexpr int threads(int columns, bool storers) {
    return columns == kWideColumns ? kWideThreads : storers ? kStorerThreads : kProductThreads;
  }
  // A warpgroup's columns, where both have the same 64 channels and halves of a panel.
  static constexpr int kHalfPanel = 32;
  /// Of a tile, by the columns of a warpgroup.
  static constexpr int tile_columns(int columns) { return columns < kPanel ? kPanel : columns; }
  static constexpr int tile_channels(int columns) {
    return columns < kPanel ? kChannels / kWarpgroups : product_warps(columns) * 16;
  }
  static constexpr int weight_bytes(int columns) { return tile_channels(columns) * kChunkBytes; }
  static constexpr int stage_bytes(int columns) {
    return weight_bytes(columns) + (columns + kPanel - 1) / kPanel * kPanelBytes;
  }
  // Where a warp turns its results, 16 channels of 64 columns at a time, to rows. Rows of 72 words
  // keep the accumulators' pairs in different banks.
  static constexpr int kTurnPitch = 72;
  static constexpr int kTurnBytes = 16 * kTurnPitch * 4;
  // By rows instead, so many columns at once, in rows that hold a gap for each image they touch: of
  // images of 64 columns or more that begin on multiples of 8, eight columns of the first one and
  // all others.
  static constexpr int pass_columns(int columns, int size) {
    return size == 4 && columns == kMaxColumns ? columns / 2 : columns;
  }
  static constexpr int row_images(int pass) { return 1 + (pass - 8 + kPanel - 1) / kPanel; }
  static constexpr int row_pitch(int pass) { return (pass + 8 * row_images(pass)) | 8; }
  static constexpr int rows_bytes(int columns, int size) {
    return 16 * row_pitch(pass_columns(columns, size)) * size;
  }
  static constexpr int kMaxStages = 8;
  // Two of each stage; with storers two and a word of each warp that multiplies.
  static constexpr int kWarpBarrierBytes = kProductWarps * 8;
  static constexpr int kBarrierBytes =
      2 * kMaxStages * 8 + 2 * kWarpBarrierBytes + kProductWarps * 4;
  static constexpr int kMaxShares = 8, kMinShareChunks = 8, kMinSharedChunks = 24;
  /// 16-bit elements of the sum in a chunk; of fp32 half of them are high parts, half low ones.
  static constexpr int kChunkElements = 64;
};

/// The depthwise values as the product's right operand, [parts][channels][columns] in 16 bit: the
/// images of a channel lie side by side, each padded to `pitch` columns; `total` is a multiple
/// of 8. What the padding holds is multiplied but not stored.
struct SeparableColumnsParams {
  SeparableWgmmaProblem problem;
  void* columns;
  void* packed;  // the pointwise weight, [out_channels][chunks][64], of fp32 in two parts
  bool packs;    // else the weight is multiplied as it is
  FastDivisor pitches, channels, widths, strips;  // by pitch, channels, threads a row, block_strips
  int plane;                                      // pixels of a result
  int pitch;
  int total;  // columns
  int chunks;

  // Depthwise.
  int source_planes;  // batch * channels
  int block_planes;   // of a block
  int strip_rows;     // kManyRows or kFewRows
  int strip_columns;  // of a thread: 1 or 2
  int block_strips;   // of a block's planes
  int strip_blocks;   // of a plane; more than 1 with one plane a block alone
  int source_blocks;  // the blocks after them pack weights
  int stage_offset;   // of a block's results in shared memory, bytes
  int stage_elements;
  FastDivisor units;  // 16 bytes of a plane's results, or pairs of an image's columns

  // Product.
  int channel_blocks;
  int tile_channels;
  int shares;  // of an item's sum, each a block of a cluster
  int items;   // tiles times shares
  int stages;
};

struct SeparableColumnsMaps {
  CUtensorMap weights;
  CUtensorMap columns;
};

}  // namespace kernelopt
