// Tuning of the depthwise gradients by windows in registers. Includes no torch header.
#pragma once

#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"
#include "depthwise/depthwise_shapes.h"

namespace kernelopt {

/// The instances of depthwise_weight_gradient_window_kernel.
using GradientWindowShapes =
    ShapeList<SlidingShape<2, 2, 1>, SlidingShape<3, 3, 1>, SlidingShape<5, 5, 1>,
              SlidingShape<7, 7, 1>, SlidingShape<3, 1, 1>, SlidingShape<5, 1, 1>,
              SlidingShape<3, 5, 1>, SlidingShape<5, 3, 1>, SlidingShape<3, 7, 1>,
              SlidingShape<7, 3, 1>>;

/// Those that compute the input gradient as well.
using BothGradientShapes =
    ShapeList<SlidingShape<3, 3, 1>, SlidingShape<3, 1, 1>, SlidingShape<3, 7, 1>>;

/// Its plans. Measured on an H100; docs/tuning/depthwise.md has the figures.
/// @tparam kMany  sums and windows take most of the registers
template <bool kMany>
struct DepthwiseWindowGradientPolicy : DepthwiseSlidingGradientPolicy {
  static constexpr int kThreads = kMany ? 128 : 256;
  static constexpr int kBlocks = kMany ? 3 : 2;  // that their registers let a multiprocessor hold
  // Blocks that share the sums.
  static constexpr int kBlocksPerMultiprocessor = 12;
  // Of a stage, of which a block has two. 54 KiB, 40 and 28: 0.369, 0.391 and 0.389 ms for problem
  // 82 in bfloat16, but 0.403, 0.358 and 0.328 for 128x1024x7x7.
  static constexpr int64_t kSmallPlaneBytes = 2560;
  static constexpr int64_t stage_bytes(int64_t plane_bytes) {
    return (kMany || plane_bytes <= kSmallPlaneBytes ? 28 : 54) * 1024;
  }
};
template <int kHeight, int kWidth, bool kBoth>
using WindowGradientPolicy = DepthwiseWindowGradientPolicy<kHeight == 7 || (kBoth && kWidth > 3)>;

/// Whether the kernel is faster than the sliding one, where it has an instance. Milliseconds, the
/// sliding kernel and this one: not 5x5 in 16 bit of narrow planes, 128x1152x7x7 0.065 and 0.077,
/// but 128x512x10x10 0.055 and 0.043.
inline bool window_gradient_pays(const DepthwiseWeightGradientParams& params, int element_bytes) {
  constexpr int64_t kMinColumns = 10;
  return element_bytes == 4 || params.h.kernel_size != 5 || params.w.kernel_size != 5 ||
         params.w.result_size >= kMinColumns;
}

/// Whether it is faster than the tensor cores too. Not 7x7 in 16 bit, 128x96x56x56 0.131 on tensor
/// cores and 0.145, nor in fp32 of narrow planes, 128x384x14x14 0.096 and 0.113; but 128x192x28x28
/// 0.149 and 0.116. Not 5x5 in 16 bit of few results, 16x240x28x28 0.024 and 0.028, but
/// 128x512x14x14 0.083 and 0.058.
inline bool window_gradient_is_first(const DepthwiseWeightGradientParams& params,
                                     int element_bytes) {
  constexpr int64_t kMinColumns = 28, kMinResults = 8'000'000;
  const int64_t results =
      params.batch * params.filters * params.h.result_size * params.w.result_size;
  const int64_t taps = params.h.kernel_size * params.w.kernel_size;
  return taps == 49   ? element_bytes == 4 && params.w.result_size >= kMinColumns
         : taps == 25 ? window_gradient_pays(params, element_bytes) &&
                            (element_bytes == 4 || results >= kMinResults)
                      : true;
}

/// Whether one kernel for both gradients is faster than two, of contiguous tensors. Microseconds,
/// two and one, bfloat16: not 16x1024x8x8 13.0 and 15.2, but 8x64x56x56 19.7 and 13.6.
inline bool both_gradients_pay(const DepthwiseWeightGradientParams& params, int element_bytes) {
  constexpr int64_t kMinProducts = 12'000'000;
  const DepthwiseAxis &h = params.h, &w = params.w;
  const int64_t results = params.batch * params.filters * h.result_size * w.result_size;
  return element_bytes <= 4 && params.multiplier == 1 && h.dilation == 1 && w.dilation == 1 &&
         h.padding < h.kernel_size && w.padding < w.kernel_size &&
         w.source_size * element_bytes % 16 == 0 &&
         results * h.kernel_size * w.kernel_size >= kMinProducts &&
         dispatch_shape(
             BothGradientShapes{}, h.kernel_size, w.kernel_size, h.stride, w.stride, [](auto) {});
}

}  // namespace kernelopt
