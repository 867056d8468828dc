// Tuning of the depthwise kernels. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cstdint>

namespace kernelopt {

struct DepthwisePolicy {
  static constexpr int kThreads = 128;
  // Result rows (contiguous) or columns (channels_last) a thread of the direct kernels owns: one
  // weight load serves them all.
  static constexpr int kDirectItems = 4;
};

/// Measured on an H100; docs/tuning/depthwise.md has the figures.
struct DepthwiseSlidingPolicy {
  static constexpr int kThreads = 128;           // a block's, at most
  static constexpr int kMaxThreadsPerRow = 128;  // wider rows are cut
  // Below, memory is the limit, from here on arithmetic is. Then a thread owns 8 bytes of 16-bit
  // results instead of 16, for its sums leave room for twice the threads.
  static constexpr int kManyTaps = 25;
  // Result rows a thread slides over, at most. It computes kernel_height - stride rows more than it
  // owns, which costs the more the more arithmetic there is for a byte.
  static constexpr int kRowsOf32Bit = 8;
  static constexpr int kRowsOf16Bit = 12;
  static constexpr int kRowsOfManyTaps = 20;
  // In 16 bit of higher images, where threads would own fewer than kManyRows without a limit:
  // 4x128x128x128 17.8 us and 20.2 with 12 rows; but 64x192x56x56 62.5 and 60.3.
  static constexpr int kFewRowsOf16Bit = 8, kManyRows = 64;
  // Fewer where the device would have less than this many threads to each multiprocessor.
  static constexpr int kThreadsPerMultiprocessor = 256;
  static constexpr int kMinRows = 2;
  // What a thread does before its first row, in rows; counted from instructions.
  static constexpr double kRowsToBegin = 2;
  // Threads of a row from which aligned windows have a loop of their own: with two, lanes of a warp
  // are at the top and at the bottom of planes, 34.6 us for 128x512x16x16, 3x3, in bfloat16
  // instead of 33.5; with four 56.3 instead of 56.8 for 128x256x32x32.
  static constexpr int kMinThreadsOfAlignedRow = 4;
  // Planes of a block are fewer where there would be fewer blocks than this.
  static constexpr int kBlocksPerMultiprocessor = 4;
  // Shared memory of a block: with few taps six of them fit a multiprocessor of Hopper, with many
  // their registers let four. Never above 48 KiB, which every launch may ask for.
  static constexpr int kSharedBytes = 36 * 1024;
  static constexpr int kSharedBytesOfManyTaps = 46 * 1024;
  // Two blocks of multiprocessors that have 64 KiB, three of those that have 100 KiB.
  static constexpr int kSmallSharedBytes = 31 * 1024;
};

/// Bytes of neighbouring results a thread of the sliding kernel owns.
constexpr int sliding_vector_bytes(int element_bytes, int64_t taps) {
  return element_bytes == 2 && taps >= DepthwiseSlidingPolicy::kManyTaps ? 8 : 16;
}

/// Shared memory that a block of the sliding kernels should not pass.
/// @param largest_block  what the device allows a block
constexpr int sliding_shared_bytes(int largest_block, int64_t taps) {
  using Policy = DepthwiseSlidingPolicy;
  return largest_block < 160 * 1024  ? Policy::kSmallSharedBytes
         : taps >= Policy::kManyTaps ? Policy::kSharedBytesOfManyTaps
                                     : Policy::kSharedBytes;
}

/// The sliding weight gradient's plans.
struct DepthwiseSlidingGradientPolicy : DepthwiseSlidingPolicy {
  static constexpr int kFewRowsOf16Bit = kRowsOf16Bit;
};

/// The sliding weight gradient's plans at stride 2: short slides are more threads in what shared
/// memory holds, and its windows, two units of 16 bytes apart, keep that busy.
struct DepthwiseStridedGradientPolicy : DepthwiseSlidingGradientPolicy {
  static constexpr int kRowsOf32Bit = 2;
  static constexpr int kRowsOf16Bit = 2;
  static constexpr int kRowsOfManyTaps = 4;
};

/// The input gradient at stride 2. Measured on an H100; docs/tuning/depthwise.md has the figures.
struct DepthwisePhasePolicy {
  static constexpr int kRows = 4;  // result rows of a thread
  // Neighbouring results of a thread: 16 bytes, fewer where rows are so long that their stores
  // would lie across each other's sectors.
  static constexpr int vector_size(int element_bytes, int64_t width) {
    const int most = 16 / element_bytes;
    return width % most == 0 ? most : width % 4 == 0 && most > 4 ? 4 : width % 2 == 0 ? 2 : 4;
  }
};

struct DepthwiseTilePolicy {
  static constexpr int kMaxThreads = 512;  // a block's, at most
  // Columns of a block; narrower ones are not worth their halo.
  static constexpr int kMaxColumns = 128;
  static constexpr int kMinColumns = 16;
  // Shared memory of a block in floats; 48 KiB is what every launch may ask for.
  static constexpr int64_t kFloats = 11 * 1024;
  // A block's tile is smaller where there would be fewer blocks than this.
  static constexpr int kBlocksPerMultiprocessor = 2;
  // Threads with work on a multiprocessor below which their latencies are what takes time.
  static constexpr double kThreadsPerMultiprocessor = 512;
};

struct DepthwiseChannelsLastPolicy {
  static constexpr int kThreads = 128;  // a block's, at most
  // Channel vectors of a block: fewer of them leave room for more columns and rows, more of them
  // are longer pieces of memory.
  static constexpr int kMaxVectors = 32;
  static constexpr int kMinVectors = 16;
  static constexpr int kMinVectorsOfManyTaps = 8;
  static constexpr int kMaxColumnGroups = 8;
  // Result rows a thread slides over, at most.
  static constexpr int kRowsOf32Bit = 8;
  static constexpr int kRowsOf16Bit = 14;
  // Fewer where the device would have less than this many threads to each multiprocessor.
  static constexpr int kThreadsPerMultiprocessor = 256;
  static constexpr int kMinRows = 2;
  static constexpr double kRowsToBegin = 2;  // what a thread does before its first row, in rows
};

struct DepthwiseWeightGradientPolicy {
  static constexpr int kThreads = 256;
  // Channels a block of the channels_last kernel owns: one warp wide, so that loads are coalesced.
  static constexpr int kChannels = 32;
  // Elements a block sums before a second block shares the work, so that the second stage costs
  // little.
  static constexpr int64_t kMinElements = 2048;
  static constexpr int kBlocksPerMultiprocessor = 8;
  // The sliding kernel: input and gradient of a stage, of which a block has two, and what a plan
  // adds to it; blocks that share the sums.
  static constexpr int64_t kStageBytes = 40 * 1024;
  static constexpr int64_t kStageMargin = 1024;
  static constexpr int kSlidingBlocksPerMultiprocessor = 8;
  static constexpr int64_t kStridedStageBytes = 20 * 1024;
  static constexpr int kStridedBlocksPerMultiprocessor = 16;
  // Taps from which channels_last tensors are copied for the contiguous kernels. 5x5 takes 0.665 ms
  // for 128x240x28x28 in float32 in channels_last, 0.135 contiguous; copies of both tensors, 0.13.
  static constexpr int64_t kMinContiguousTaps = 21;
  // Strips a block sums at least, so that its beginning and its end cost little.
  static constexpr int64_t kMinStrips = 4;
};

}  // namespace kernelopt
