// What the kernel of the pointwise product of few pixels is told, and its shape. Includes no torch
// header.
#pragma once

#include "common/math.h"

#include <cstdint>

namespace kernelopt {

struct ChannelWarpsMmaShape {
  static constexpr int kTile = 32;   // channels of the result, and pixels, of a block
  static constexpr int kSteps = 32;  // of the sum, of a warp at a time
  static constexpr int kMaxWarps = 8;
};

/// Offsets within an image and within the weight are below 2^31.
struct ChannelWarpsMmaParams {
  const void* images;
  const void* weight;
  const void* bias;  // [n] or null
  void* result;
  int64_t image_size;   // elements of an image
  int64_t result_size;  // of an image's result
  int pixels;           // of an image
  int n;                // channels of the result
  int k;                // channels of the sum
  int image_pixel_stride, image_k_stride;
  int weight_n_stride, weight_k_stride;
  int result_pixel_stride, result_n_stride;
  Activation activation;
  int shares;       // of the sum, a block of the cluster each: 1, 2 or 4
  int share_steps;  // of a share; the last one may have fewer
};

}  // namespace kernelopt
