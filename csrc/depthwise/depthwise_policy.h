// Tuning of the depthwise kernels. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cstdint>
#include <type_traits>

namespace kernelopt {

struct DepthwisePolicy {
  static constexpr int kThreads = 128;
  // Result rows a thread of the sliding kernel owns. Each row more is a row of loads more in flight
  // and a smaller share of rows that two threads both read; beyond 8 the registers run out.
  static constexpr int kSlidingRows = 8;
  // Result rows (contiguous) or columns (channels_last) a thread of the direct kernels owns: one
  // weight load serves them all.
  static constexpr int kDirectItems = 4;
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

/// Calls `function(SlidingShape<...>{})` where the sliding kernel has an instance for the shape
/// (dilation 1) and says whether it had. fp64 has none: its speed is no concern.
template <typename T, typename Function>
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
  if constexpr (!std::is_same_v<T, double>) {
    offer(SlidingShape<3, 3, 1>{});
    offer(SlidingShape<5, 5, 1>{});
    offer(SlidingShape<7, 7, 1>{});
    offer(SlidingShape<3, 7, 1>{});
    offer(SlidingShape<7, 3, 1>{});
    offer(SlidingShape<3, 1, 1>{});
    offer(SlidingShape<1, 3, 1>{});
    offer(SlidingShape<3, 3, 2>{});
    offer(SlidingShape<5, 5, 2>{});
    offer(SlidingShape<7, 7, 2>{});
  }
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
