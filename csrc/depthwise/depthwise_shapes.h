// The shapes that kernels have instances for, and from a shape to its instance. Includes no torch
// header.
#pragma once

#include <cstdint>
#include <type_traits>

namespace kernelopt {

template <int kHeight, int kWidth, int kStrideBoth>
struct SlidingShape {
  static constexpr int kKernelHeight = kHeight;
  static constexpr int kKernelWidth = kWidth;
  static constexpr int kStride = kStrideBoth;
};

/// What a thread of the channels_last sliding kernel owns as well: kColumns columns of kVec
/// channels.
template <int kHeight, int kWidth, int kStrideBoth, int kColumnsOfThread, int kVecChannels>
struct ChannelsLastShape : SlidingShape<kHeight, kWidth, kStrideBoth> {
  static constexpr int kColumns = kColumnsOfThread;
  static constexpr int kVec = kVecChannels;
  static constexpr bool kTapsInRegisters = kHeight * kWidth * kVec <= 40;
};

template <typename... Shapes>
struct ShapeList {};

/// The instances of the sliding kernels, of dilation 1.
using SlidingShapes = ShapeList<
    SlidingShape<1, 1, 1>, SlidingShape<2, 2, 1>, SlidingShape<3, 3, 1>, SlidingShape<4, 4, 1>,
    SlidingShape<5, 5, 1>, SlidingShape<6, 6, 1>, SlidingShape<7, 7, 1>, SlidingShape<1, 3, 1>,
    SlidingShape<3, 1, 1>, SlidingShape<1, 5, 1>, SlidingShape<5, 1, 1>, SlidingShape<1, 7, 1>,
    SlidingShape<7, 1, 1>, SlidingShape<3, 5, 1>, SlidingShape<5, 3, 1>, SlidingShape<3, 7, 1>,
    SlidingShape<7, 3, 1>, SlidingShape<1, 1, 2>, SlidingShape<2, 2, 2>, SlidingShape<3, 3, 2>,
    SlidingShape<5, 5, 2>, SlidingShape<7, 7, 2>>;
/// Columns and channels of a thread are those that measured best on an H100.
using ChannelsLastShapes =
    ShapeList<ChannelsLastShape<3, 3, 1, 2, 4>, ChannelsLastShape<3, 3, 2, 2, 4>,
              ChannelsLastShape<5, 5, 1, 2, 4>, ChannelsLastShape<5, 5, 2, 2, 4>,
              ChannelsLastShape<7, 7, 1, 2, 4>, ChannelsLastShape<7, 7, 2, 2, 4>,
              ChannelsLastShape<3, 1, 1, 4, 4>, ChannelsLastShape<1, 3, 1, 4, 4>,
              ChannelsLastShape<3, 7, 1, 4, 4>, ChannelsLastShape<7, 3, 1, 2, 4>>;

/// The instances of the small kernels; of the contiguous one with a dilation.
using SmallShapes = ShapeList<SlidingShape<3, 3, 1>, SlidingShape<3, 3, 2>, SlidingShape<5, 5, 1>,
                              SlidingShape<5, 5, 2>, SlidingShape<7, 7, 1>>;
using DilatedShapes = ShapeList<SlidingShape<3, 3, 1>>;
/// The instances of the input gradient by phases.
using PhaseShapes = ShapeList<SlidingShape<3, 3, 2>, SlidingShape<5, 5, 2>, SlidingShape<7, 7, 2>>;

/// Calls `function(Shape{})` with the one of the shapes that it is, and says whether there was one.
template <typename... Shapes, typename Function>
bool dispatch_shape(ShapeList<Shapes...>, int64_t kernel_height, int64_t kernel_width,
                    int64_t stride_h, int64_t stride_w, Function&& function) {
  const auto offer = [&](auto shape) {
    using Shape = decltype(shape);
    const bool found = Shape::kKernelHeight == kernel_height &&
                       Shape::kKernelWidth == kernel_width && Shape::kStride == stride_h &&
                       Shape::kStride == stride_w;
    if (found) {
      function(shape);
    }
    return found;
  };
  return (offer(Shapes{}) || ...);
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
