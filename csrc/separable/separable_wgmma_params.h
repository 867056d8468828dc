// A separable convolution of contiguous images as the warpgroup kernel sees it, and how its launch
// is cut. Passed to kernels by value. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cuda.h>

#include <cstdint>

namespace kernelopt {

/// One spatial axis: output position r and tap k meet at input r * stride - padding + k * dilation.
struct SeparableAxis {
  int input_size, output_size;
  int kernel_size, stride, padding, dilation;
};

struct SeparableWgmmaProblem {
  const void* input;             // [batch, channels, h, w]
  const void* depthwise_weight;  // [channels, 1, kernel h, kernel w]
  const void* depthwise_bias;    // [channels] or null
  const void* pointwise_weight;  // [out_channels, channels]
  const void* pointwise_bias;    // [out_channels] or null
  void* output;                  // [batch, out_channels, h, w]
  int batch, channels, out_channels;
  SeparableAxis h, w;
  Activation depthwise_activation, activation;
};

struct SeparableWgmmaParams {
  SeparableWgmmaProblem problem;
  int tile_height, tile_width;  // of output pixels; their product is at most kPixels
  int tiles_y, tiles_x, tiles;  // of an image, of all
  int chunks;                   // of kChunkChannels input channels
  int slots;                    // output channels of a block: 32, 64 or 128
  // The raw input of a stage: kChunkChannels x rows x units of unit_bytes.
  int stages, rows, units, unit_bytes, stage_bytes;
  uint32_t width_inverse;  // 2^32 over tile_width, rounded up
  bool tensor_loads;       // a stage is one box of the input
  bool odd_rows;       // units of two elements begin before or at a row's start, as it is aligned
  int operands;        // buffers of a chunk's depthwise values
  int tap_pitch;       // floats from a channel's taps to the next one's; its bias follows its taps
  int store_vector;    // elements of a store
  bool tensor_stores;  // 16-bit results pass through slabs and are stored as boxes
  bool flat;           // a tile's pixels follow one another in memory
  int slabs;           // of a warp: 1, 2 or 4, no more than a tile fills
  int slab_offset;     // bytes, from the start of shared memory
};

/// What the copy engine needs to know of the input, as [n, c, y, x] with tensor_loads, and of the
/// output, as [n, y, c, x] with tensor_stores, where y is 0 with flat.
struct SeparableWgmmaMaps {
  CUtensorMap input, output;
};

struct SeparableWgmmaShape {
  static constexpr int kProductThreads = 256;  // two warpgroups multiply and store
  static constexpr int kOperandThreads = 256;  // two compute depthwise values
  static constexpr int kBoxThreads = kProductThreads + kOperandThreads;
  static constexpr int kLoadThreads = 128;  // copy rows, where there are no boxes
  static constexpr int kThreads = kBoxThreads + kLoadThreads;
  // Registers a thread: of 96 that a block of 640 threads has on average, of 128 where it has 512.
  static constexpr int kProductRegisters = 160, kOperandRegisters = 64, kLoadRegisters = 32;
  static constexpr int kBoxOperandRegisters = 96;

  static constexpr int kChunkChannels = 16;  // the k of one product
  static constexpr int kTilesM = 4;          // 64-row tiles of a block's pixels
  static constexpr int kPixels = kTilesM * 64;
  static constexpr int kThreadRows = 4;  // output rows of an operand thread
  // A slab has a warp's 64 pixels of 16 channels in 16 bit: a box of rows of 128 bytes.
  static constexpr int kSlabChannels = 16, kSlabBytes = kSlabChannels * 128;
  static constexpr int kProductWarps = kProductThreads / 32;
  static constexpr int kBarrierBytes = 512;
};

/// Where depthwise values lie as the product's left operand: [part][k / 8][tile][row / 8][row % 8]
/// [k % 8], in units of 16 bytes. Of a warp's 64 pixels lanes 4 g to 4 g + 3 have eight each:
/// vectors of 16 bytes of outputs, one of 16-bit ones, two of fp32 ones that are 32 pixels apart,
/// so that the lanes' vectors are neighbours.
template <typename T>
struct SeparableOperandLayout {
  static constexpr bool kWide = sizeof(T) == 2;
  // From eight rows to the next and from a tile to the next, such that eight neighbouring pixels
  // are written to different banks.
  static constexpr int kRowPitch = kWide ? 9 : 8, kTilePitch = 8 * kRowPitch + 2;
  static constexpr int kOctetUnits = SeparableWgmmaShape::kTilesM * kTilePitch;
  static constexpr int kPartUnits = 2 * kOctetUnits;

  /// A thread's pixel i of 64, and the unit of a pixel of the tile.
  static constexpr KERNELOPT_HOST_DEVICE int thread_pixel(int group, int i) {
    return kWide ? group * 8 + i : (i >> 2) * 32 + group * 4 + (i & 3);
  }
  static constexpr KERNELOPT_HOST_DEVICE int pixel_unit(int pixel) {
    const int group = kWide ? pixel >> 3 & 7 : pixel >> 2 & 7;
    const int tile = kWide ? pixel >> 1 & 3 : pixel & 3;
    const int half = kWide ? pixel & 1 : pixel >> 5 & 1;
    return ((pixel >> 6) * 2 + half) * kRowPitch + group + tile * kTilePitch;
  }
  /// The tile and the half of a warp's 16 rows in it that hold a thread's pixel i.
  static constexpr KERNELOPT_HOST_DEVICE int tile_of(int i) { return kWide ? i >> 1 : i & 3; }
  static constexpr KERNELOPT_HOST_DEVICE int half_of(int i) { return kWide ? i & 1 : i >> 2; }
};

}  // namespace kernelopt
