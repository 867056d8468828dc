// Which depthwise convolutions ATen's operators compute faster than the kernels here. Asked a call,
// in a few comparisons. Figures: milliseconds on an H100, torch 2.11, CUDA 13.0; elsewhere the
// kernels serve. Includes no torch header.
#pragma once

#include "depthwise/depthwise_params.h"

namespace kernelopt {

/// @param element_bytes  2 or 4
/// @param plain          neither bias nor activation, for which ATen has passes of their own
inline bool aten_is_faster(const DepthwiseParams& params, int element_bytes, bool channels_last,
                           bool plain, int compute_capability) {
  const DepthwiseAxis &h = params.h, &w = params.w;
  if (compute_capability != 90 || params.filters > 1 || h.kernel_size != w.kernel_size) {
    return false;
  }
  if (channels_last) {
    // Forward at stride 2 in float32, 3x3: 64x576x14x14: 0.0175, ATen 0.0154; 32x128x56x56: 0.0275
    // and 0.0243; 128x240x28x28: 0.050 and 0.043; 1x96x112x112: 0.0060 and 0.0052; 5x5:
    // 64x240x28x28: 0.053 and 0.034. Not with a bias: 64x576x14x14: 0.0181 and 0.0203; nor fewer
    // results: 8x576x14x14: 0.0049 and 0.0049; nor in bfloat16: 32x512x14x14: 0.0075 and 0.0107.
    constexpr int64_t kMinResults = 1 << 18;
    return plain && element_bytes == 4 && (h.kernel_size == 3 || h.kernel_size == 5) &&
           params.multiplier == 1 && h.stride == 2 && w.stride == 2 && h.dilation == 1 &&
           w.dilation == 1 && h.result_size < h.source_size && w.result_size < w.source_size &&
           params.batch * params.result_channels * h.result_size * w.result_size >= kMinResults;
  }
  // 3x3 with a dilation of half the image or more: 8x2048x33x33, d24 in bfloat16: 0.199, ATen 0.167
  // (float32 0.187 and 0.182).
  return element_bytes == 2 && h.kernel_size == 3 && h.stride == 1 && w.stride == 1 &&
         h.dilation > 1 && h.result_size <= 2 * h.dilation &&
         params.batch * params.result_channels >= 1024;
}

}  // namespace kernelopt
