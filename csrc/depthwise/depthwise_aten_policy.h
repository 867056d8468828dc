// Which depthwise convolutions ATen's operators compute faster than the kernels here. Asked a call,
// in a few comparisons. Figures: milliseconds on an H100, torch 2.11, CUDA 13.0; elsewhere the
// kernels serve. Includes no torch header.
#pragma once

#include "depthwise/depthwise_params.h"

namespace kernelopt {

inline bool aten_is_faster(const DepthwiseParams& params, bool channels_last,
                           int compute_capability) {
  // Large kernels: 16x256x28x28, k29: 1.89, ATen 0.72; 1x96x56x56, k5x51: 0.074, ATen 0.042
  // (float32; bfloat16 2.04, ATen 0.84 and 0.078, ATen 0.046). Not in channels_last: 6.3 and 0.33.
  return compute_capability == 90 && !channels_last &&
         params.h.kernel_size * params.w.kernel_size >= 128;
}

}  // namespace kernelopt
