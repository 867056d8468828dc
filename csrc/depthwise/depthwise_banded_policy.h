// Tuning of the depthwise kernels on tensor cores. Includes no torch header.
#pragma once

#include <cstdint>

namespace kernelopt {

/// The kernels on tensor cores. Measured on an H100; docs/tuning/depthwise.md has the figures.
struct DepthwiseBandedPolicy {
  // The smallest kernels and images for which they are faster than the sliding kernels: below,
  // these are at memory speed, or the plan of a plane costs more than its products.
  static constexpr int kMaxHeight = 7;
  static constexpr int kMinColumns = 24;
  static constexpr int min_taps(int element_bytes) { return element_bytes == 2 ? 21 : 49; }
  // The same of even slides, in microseconds, sliding and banded. 16 bit from 3x3 on, 32x128x74x74
  // 41.1 and 33.0, 128x58x28x28 15.3 and 12.6; fp32 5x5, 64x240x28x28 47.6 and 40.7, and 7x3, but
  // 5x3 of 128x128x56x56 156 and 164 and 3x7 of 8x64x56x56 7.9 and 9.0.
  static constexpr int min_even_taps(int element_bytes) { return element_bytes == 2 ? 9 : 21; }
  static constexpr int min_even_height(int element_bytes) { return element_bytes == 2 ? 2 : 5; }
  // Of results, from which on the small kernels are slower too: 3x3 in bfloat16, 32x64x32x32 6.3
  // (small 7.2) and 5.4, but 1x256x64x64 4.5 and 5.4; of few planes 2x32x112x112 4.0 (small 4.3)
  // and 3.6. 5x5 in fp32, 8x240x28x28 10.8 and 8.1, but 4x240x24x24 5.8 and 6.8.
  static constexpr int64_t kFewPlanes = 128;
  static constexpr int64_t min_even_results(int element_bytes, int64_t planes) {
    return element_bytes == 4 ? 1'200'000 : planes <= kFewPlanes ? 700'000 : 2'000'000;
  }
  // Kernels that the sliding kernel has no instance of, of two rows and more: of these 2x3 are the
  // smallest that were measured, 16x96x224x224 459 in fp32 by tiles and 213.
  static constexpr int kMinTapsOfOthers = 6;
  static constexpr int kMinGradientColumns = 14;
  static constexpr int min_gradient_taps(int element_bytes) { return element_bytes == 2 ? 25 : 49; }

  static constexpr int kMaxWarps = 4;  // a block's, at most
  static constexpr int kThreads = 32 * kMaxWarps;
  static constexpr int kMinWarps = 4;  // of a block, to hide latencies
  // Blocks that their registers let a multiprocessor hold.
  static constexpr int min_blocks(int element_bytes, int kernel_height) {
    return element_bytes == 2 && kernel_height <= 5 ? 5 : 4;
  }
  static constexpr int64_t kMaxRowBytes = 4096;  // wider rows are cut
  static constexpr int kMaxSlide = 32;           // result rows of a slide
  static constexpr int kMinRows = 8;             // of a block
  // What a slide does before its first row, and a warp before its first slide, in rows; counted
  // from instructions.
  static constexpr double kRowsToBegin = 3;
  static constexpr double kRowsOfWarp = 8;
  static constexpr int kBlocksPerMultiprocessor = 4;
  // Shared memory of a block, at most what every launch may ask for. Fewer rows are more blocks, of
  // which registers let five in with 5x5: 0.380 for 16x64x512x512 in bfloat16 instead of 0.395.
  static constexpr int64_t shared_bytes(int element_bytes, int64_t kernel_height) {
    return element_bytes == 2 && kernel_height == 5 ? 36 * 1024 : 46 * 1024;
  }
  static constexpr int kMostSharedBytes = 48 * 1024;

  // The channels_last kernel.
  static constexpr int kChannelsLastThreads = 256;
  static constexpr int kChannelsLastBlocks = 2;  // that their registers let a multiprocessor hold
  static constexpr int64_t kChannelsLastSharedBytes = 110 * 1024;
  static constexpr double kMultiprocessorBytes = 224 * 1024;
  // Instructions for a pair of columns, a step of a slide and a channel.
  static constexpr double kLoadCost = 0.1, kStepCost = 40, kChannelCost = 120;

  // The weight gradient: a stage of input and gradient, of which a block has two. Eight warps and
  // 32 KiB: 0.161 instead of 0.096 for 128x384x14x14, 7x7, in float32.
  static constexpr int64_t kStageBytes = 20 * 1024;
  static constexpr int64_t kMinStageBytes = 4 * 1024;
  static constexpr int kGradientWarps = 4;
  static constexpr int kGradientThreads = 32 * kGradientWarps;
  static constexpr int gradient_blocks(int element_bytes) { return element_bytes == 2 ? 6 : 5; }
  static constexpr int kGradientBlocksPerMultiprocessor = 12;
};

}  // namespace kernelopt
