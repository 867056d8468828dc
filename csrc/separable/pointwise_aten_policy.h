// Which weight gradients of pointwise convolutions ATen's operators compute faster than the kernels
// here. Figures: milliseconds on an H100, torch 2.11, CUDA 13.0; elsewhere the kernels serve.
// Includes no torch header.
#pragma once

#include "separable/channel_gemm_policy.h"

#include <algorithm>
#include <cstdint>

namespace kernelopt {

/// Of contiguous images.
/// @param pixels  of an image
inline bool aten_weight_gradient_is_faster(int64_t batch, int64_t pixels, int64_t channels,
                                           int64_t out_channels, int64_t element_bytes,
                                           int compute_capability) {
  // bfloat16, all gradients together: 32x512x28x28 -> 128: 0.111, ATen 0.048; 64x384x56x56 -> 96:
  // 0.40, ATen 0.21; not 4x128x257x257 -> 21: 0.20, ATen 1.02. In float32 ATen's are those of TF32.
  return compute_capability == 90 && element_bytes == 2 &&
         !ChannelGemmWgmmaPolicy::converts(batch, pixels, element_bytes) && pixels <= 4096 &&
         std::min(channels, out_channels) >= 16;
}

}  // namespace kernelopt
