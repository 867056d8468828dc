// What the depthwise kernels are told, by value. Includes no torch header.
#pragma once

#include <cstdint>

namespace kernelopt {

/// The largest count the kernels' 32-bit index arithmetic takes; it leaves room for the additions
/// made on top.
constexpr int64_t kMaxIndex32 = int64_t{1} << 30;

/// One spatial axis. Result r and tap k meet at source index
///   r * stride - padding + k * dilation            in a correlation,
///   (r + padding - k * dilation) / stride          in a strided input gradient, where it is whole;
/// outside [0, source_size) the source is 0. The padding may be negative in a correlation.
struct DepthwiseAxis {
  int64_t source_size;
  int64_t result_size;
  int64_t kernel_size;
  int64_t stride;
  int64_t padding;
  int64_t dilation;
};

/// A depthwise operation from a source [N, source_channels, h, w] to a result [N, result_channels,
/// h, w]. Result channel r sums filters r * filters ... r * filters + filters - 1; filter f reads
/// source channel f / multiplier.
///   forward:         source the input, result the output; filters = 1
///   input gradient:  source the gradient of the output, result that of the input;
///                    filters = the convolution's channel multiplier, multiplier = 1, flipped where
///                    it is a correlation
struct DepthwiseParams {
  int64_t batch;
  int64_t source_channels;
  int64_t result_channels;
  int64_t filters;
  int64_t multiplier;
  bool flipped;
  DepthwiseAxis h;
  DepthwiseAxis w;
};

/// The weight gradient: filter f at tap (i, j) is the sum over n, y, x of
/// grad_z[n, f, y, x] * input[n, f / multiplier, y * stride - padding + i * dilation, ...].
/// The axes are those of the forward correlation: source the input, result grad_z.
struct DepthwiseWeightGradientParams {
  int64_t batch;
  int64_t filters;
  int64_t multiplier;
  int64_t shares;        // of the sum over n, y, x
  int64_t share_length;  // elements a share
  int64_t tiles_h;       // tap tiles of the policy's size along each kernel axis
  int64_t tiles_w;
  DepthwiseAxis h;
  DepthwiseAxis w;
};

}  // namespace kernelopt
