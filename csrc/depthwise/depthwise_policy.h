// Tuning of the depthwise kernels. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cstdint>
#include <type_traits>

namespace kernelopt {

struct DepthwisePolicy {
  static constexpr int kThreads = 128;
  // Result rows (contiguous) or columns (channels_last) a thread of the direct kernels owns: one
  // weight load serves them all.
  static constexpr int kDirectItems = 4;
};

struct DepthwiseSlidingPolicy {
  static constexpr int kThreads = 128;     // a block's, about
  static constexpr int kMaxThreads = 256;  // a block's, at most
  static constexpr int kMaxThreadsPerRow = 128;
  // Result rows a thread slides over; it loads kernel_height - stride rows more than it owns, so
  // more for tall kernels.
  static constexpr int kRowsPerThread = 8;
  static constexpr int kTallRowsPerThread = 16;
  // Rows of a strip, at least, where strips are cut to fill the device.
  static constexpr int kMinRowsPerStrip = 4;
  static constexpr int kBlocksPerMultiprocessor = 4;
  // Shared memory of a block: five of them fit a multiprocessor of Hopper. Never above 48 KiB,
  // which every launch may ask for.
  static constexpr int kSharedBytes = 40 * 1024;
  // Two blocks of multiprocessors that have 64 KiB, three of those that have 100 KiB.
  static constexpr int kFewSharedBytes = 31 * 1024;
  static constexpr int shared_bytes(int largest_block) {
    return largest_block < 4 * kSharedBytes ? kFewSharedBytes : kSharedBytes;
  }
};

struct DepthwiseChannelsLastPolicy {
  static constexpr int kThreads = 128;
  static constexpr int kMaxVectors = 32;  // channel vectors of a block
  static constexpr int kRowsPerStrip = 16;
  static constexpr int kTallRowsPerStrip = 32;
  static constexpr int kMinRowsPerStrip = 4;
  static constexpr int kBlocksPerMultiprocessor = 4;
};

struct DepthwiseWeightGradientPolicy {
  static constexpr int kThreads = 256;
  // Channels a block of the channels_last kernel owns: one warp wide, so that loads are coalesced.
  static constexpr int kChannels = 32;
  // Elements a block sums before a second block shares the work, so that the second stage costs
  // little.
  static constexpr int64_t kMinElements = 2048;
  static constexpr int kBlocksPerMultiprocessor = 8;
};

template <int kHeight, int kWidth, int kStrideBoth>
struct SlidingShape {
  static constexpr int kKernelHeight = kHeight;
  static constexpr int kKernelWidth = kWidth;
  static constexpr int kStride = kStrideBoth;
};

template <int kHeight, int kWidth, int kStrideBoth, int kColumnsOfThread, int kVecChannels>
struct ChannelsLastShape : SlidingShape<kHeight, kWidth, kStrideBoth> {
  static constexpr int kColumns = kColumnsOfThread;
  static constexpr int kVec = kVecChannels;
  static constexpr bool kTapsInRegisters = kHeight * kWidth * kVec <= 40;
};

/// Calls `function(SlidingShape<...>{})` where the sliding kernel has an instance for the shape and
/// says whether it had.
template <typename Function>
bool dispatch_sliding_shape(int64_t kernel_height, int64_t kernel_width, int64_t stride_h,
                            int64_t stride_w, Function&& function) {
  bool found = false;
  const auto offer = [&](auto shape) {
    using Shape = decltype(shape);
    if (!found && Shape::kKernelHeight == kernel_height && Shape::kKernelWidth == kernel_width &&
        Shape::kStride == stride_h && Shape::kStride == stride_w) {
      function(shape);
      found = true;
    }
  };
  offer(SlidingShape<1, 1, 1>{});
  offer(SlidingShape<2, 2, 1>{});
  offer(SlidingShape<3, 3, 1>{});
  offer(SlidingShape<4, 4, 1>{});
  offer(SlidingShape<5, 5, 1>{});
  offer(SlidingShape<6, 6, 1>{});
  offer(SlidingShape<7, 7, 1>{});
  offer(SlidingShape<1, 3, 1>{});
  offer(SlidingShape<3, 1, 1>{});
  offer(SlidingShape<1, 5, 1>{});
  offer(SlidingShape<5, 1, 1>{});
  offer(SlidingShape<1, 7, 1>{});
  offer(SlidingShape<7, 1, 1>{});
  offer(SlidingShape<3, 5, 1>{});
  offer(SlidingShape<5, 3, 1>{});
  offer(SlidingShape<3, 7, 1>{});
  offer(SlidingShape<7, 3, 1>{});
  offer(SlidingShape<1, 1, 2>{});
  offer(SlidingShape<2, 2, 2>{});
  offer(SlidingShape<3, 3, 2>{});
  offer(SlidingShape<5, 5, 2>{});
  offer(SlidingShape<7, 7, 2>{});
  return found;
}

/// Taps a block of the weight gradient owns: the whole kernel for the common square ones, else a
/// 3x3 tile of it.
template <int kHeight, int kWidth>
struct TapTile {
  static constexpr int kRows = kHeight;
  static constexpr int kColumns = kWidth;
};

template <typename T, typename Function>
void dispatch_tap_tile(int64_t kernel_height, int64_t kernel_width, Function&& function) {
  if constexpr (!std::is_same_v<T, double>) {
    if (kernel_height == 5 && kernel_width == 5) {
      return function(TapTile<5, 5>{});
    }
    if (kernel_height == 7 && kernel_width == 7) {
      return function(TapTile<7, 7>{});
    }
  }
  function(TapTile<3, 3>{});
}

}  // namespace kernelopt
