// What the kernel of the pointwise product with few channels of the result is told, and its shape.
// Includes no torch header.
#pragma once

#include "common/math.h"

#include <cstdint>

namespace kernelopt {

struct ChannelSumsShape {
  static constexpr int kThreads = 256;
  static constexpr int kVecBytes = 16;    // of pixels, a thread
  static constexpr int kLoads = 8;        // of a thread under way at once
  static constexpr int kMaxChannels = 8;  // of the result
  static constexpr int kWeights = 256;    // of each of them in shared memory, at once
  /// Pixels of a block.
  static constexpr int tile_pixels(int element_bytes, int shares) {
    return kThreads / shares * (kVecBytes / element_bytes);
  }
};

/// result[b, n, m] = act(bias[n] + sum over k of weight[n, k] * images[b, k, m]), contiguous.
struct ChannelSumsParams {
  const void* images;
  const void* weight;  // element (n, k) at n * weight_n_stride + k * weight_k_stride
  const void* bias;    // [n] or null
  void* result;
  int64_t pixels;  // of an image
  int64_t tiles;   // of an image
  int64_t k;
  int64_t weight_n_stride, weight_k_stride;
  int n;
  Activation activation;
};

}  // namespace kernelopt
