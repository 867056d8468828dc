// The weight gradient of a one-dimensional convolution, either way round, as the kernels see it.
// Includes no torch header.
#pragma once

#include "conv1d/conv1d_problem.h"

namespace kernelopt {

/// gradient[g * steady_channels + r, c, k] =
///     sum over n, i of steady[n, g * steady_channels + r, i]
///                      * shifted[n, g * shifted_channels + c, i * stride - padding + k * dilation]
///   steady   [batch, groups * steady_channels, steady_length]
///   shifted  [batch, groups * shifted_channels, shifted_length]
/// `shifted` counts as zero outside. conv1d: steady is grad_output, shifted the input;
/// conv_transpose1d: the reverse.
struct Conv1dWeightGradientProblem {
  const void* steady;
  const void* shifted;
  Strides1d steady_strides;
  Strides1d shifted_strides;
  int64_t batch;
  int64_t groups;
  int64_t steady_channels;   // of a group
  int64_t shifted_channels;  // of a group
  int64_t steady_length;
  int64_t shifted_length;
  int64_t kernel_size;
  int64_t stride;
  int64_t padding;
  int64_t dilation;
  Precision precision;
  /// Both operands were complete before the kernel in front in the stream began: they may be read
  /// while it runs.
  bool operands_ready;
  /// What this was made of, where the shifted operand is a copy with zeros outside: of that, sums
  /// which are not finite are computed anew. The gradient's order is the same. Host memory, or
  /// null.
  const Conv1dWeightGradientProblem* original;

  /// Products of one gradient element.
  KERNELOPT_HOST_DEVICE int64_t steps() const { return batch * steady_length; }
  /// Elements of the gradient.
  KERNELOPT_HOST_DEVICE int64_t numel() const {
    return groups * steady_channels * shifted_channels * kernel_size;
  }
};

}  // namespace kernelopt
