// Which pointwise convolutions ATen's operator computes faster than the kernels here, forward.
// Asked a call, in a few comparisons. Figures: milliseconds on an H200, torch 2.11, CUDA 13.0; an
// H100's are within 5% of them; elsewhere the kernels serve. Includes no torch header.
#pragma once

#include <cstdint>

namespace kernelopt {

/// Of what is no product of few pixels (FewPixelsPolicy).
/// @param pixels         of an image
/// @param element_bytes  2 or 4
inline bool aten_is_faster(int64_t batch, int64_t pixels, int64_t in_channels, int64_t out_channels,
                           int element_bytes, bool channels_last, int compute_capability) {
  if (compute_capability != 90 || channels_last || batch != 1 || in_channels < 384) {
    return false;
  }
  // Long sums over one image, too many for the kernel that keeps them in a block's warps, too few
  // tiles for the others. float32: 1x3072x7x7 -> 768: 0.0177, ATen 0.0135; 1x384x56x56 -> 96:
  // 0.0117, ATen 0.0094. Not: 1x1024x14x14 -> 256: 0.0087, ATen 0.0096; more channels of the
  // result, which are tiles enough: 1x384x14x14 -> 1536 on an H100 0.0086, ATen 0.0096. In bfloat16
  // the second alone: 0.0079, ATen 0.0067, the first 0.0104, ATen 0.0163.
  const int64_t products = pixels * in_channels * out_channels;
  return products >= 100'000'000 && products <= 200'000'000 && out_channels <= 2 * in_channels &&
         (element_bytes == 4 || (out_channels <= 128 && pixels >= 2048));
}

}  // namespace kernelopt
