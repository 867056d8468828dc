// Which depthwise convolutions ATen's operators compute faster than the kernels here. Asked a call,
// in a few comparisons. Figures: milliseconds on an H100, torch 2.11, CUDA 13.0; elsewhere the
// kernels serve. Includes no torch header.
#pragma once

#include "depthwise/depthwise_params.h"

namespace kernelopt {

/// @param element_bytes  2 or 4
inline bool aten_is_faster(const DepthwiseParams& params, int element_bytes, bool channels_last,
                           int compute_capability) {
  if (compute_capability != 90 || element_bytes != 2 || channels_last || params.filters > 1) {
    return false;
  }
  // 3x3 with a dilation of half the image or more: 8x2048x33x33, d24 in bfloat16: 0.199, ATen 0.167
  // (float32 0.187 and 0.182).
  return params.h.kernel_size == 3 && params.w.kernel_size == 3 && params.h.stride == 1 &&
         params.w.stride == 1 && params.h.dilation > 1 &&
         params.h.result_size <= 2 * params.h.dilation &&
         params.batch * params.result_channels >= 1024;
}

}  // namespace kernelopt
