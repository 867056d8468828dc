// A one-dimensional convolution, either way round, as the kernels see it. Plain structs that are
// passed to kernels by value. Includes no torch header.
#pragma once

#include "common/math.h"

#include <cstdint>

namespace kernelopt {

/// Strides, in elements, of a [N, C, L] view. Any values, for the length too.
struct Strides1d {
  int64_t batch;
  int64_t channel;
  int64_t length;
};

/// output = activation(convolution(input, weight) + bias), all of one dtype on one device:
///   input   [batch, groups * in_channels, in_length]
///   output  [batch, groups * out_channels, out_length]
///   bias    [groups * out_channels], or null
///   weight  [groups * out_channels, in_channels, kernel_size], or, where transposed,
///           [groups * in_channels, out_channels, kernel_size]; contiguous
/// Not transposed: input position = output position * stride - padding + tap * dilation.
/// Transposed: output position = input position * stride - padding + tap * dilation. Here any
/// out_length will do: positions that no tap reaches get the bias.
struct Conv1dProblem {
  const void* input;
  const void* weight;
  const void* bias;
  void* output;
  Strides1d input_strides;
  Strides1d output_strides;
  int64_t batch;
  int64_t groups;
  int64_t in_channels;   // of a group
  int64_t out_channels;  // of a group
  int64_t in_length;
  int64_t out_length;
  int64_t kernel_size;
  int64_t stride;
  int64_t padding;
  int64_t dilation;
  bool transposed;
  Activation activation;
  Precision precision;

  KERNELOPT_HOST_DEVICE int64_t weight_out_stride() const {
    return transposed ? kernel_size : in_channels * kernel_size;
  }
  KERNELOPT_HOST_DEVICE int64_t weight_in_stride() const {
    return transposed ? out_channels * kernel_size : kernel_size;
  }
  /// Elements of one group's weights, in either layout.
  KERNELOPT_HOST_DEVICE int64_t weight_group_stride() const {
    return out_channels * in_channels * kernel_size;
  }
};

/// Outputs that use the same taps. The q-th of `count` is at out_start + q * out_step; its j-th of
/// `taps` is weight tap first_tap + j * tap_step and reads input position
/// in_start + q * in_step + j * in_tap_step, where that is inside the input.
///
/// conv1d has one phase. conv_transpose1d has one for every residue of a tap: with
/// g = gcd(stride, dilation), taps r, r + stride/g, r + 2 stride/g, ... reach the same output
/// positions modulo stride, each an input position dilation/g before the last. So every phase is a
/// correlation at unit stride: no zeros are inserted and no two taps write one output.
struct Conv1dPhase {
  int64_t count;
  int64_t out_start;
  int64_t out_step;
  int64_t taps;
  int64_t first_tap;
  int64_t tap_step;
  int64_t in_start;
  int64_t in_step;
  int64_t in_tap_step;
};

/// What a problem's phases have in common.
struct Conv1dPhases {
  int64_t count;        // phases that have taps
  int64_t outputs;      // the most outputs a phase has, of one batch entry and channel
  int64_t tap_step;     // stride / gcd(stride, dilation)
  int64_t in_tap_step;  // -dilation / gcd(stride, dilation)
  bool cover_output;    // every output belongs to a phase that has taps

  static Conv1dPhases of(const Conv1dProblem& problem) {
    if (!problem.transposed) {
      return {1, problem.out_length, 1, problem.dilation, true};
    }
    int64_t divisor = problem.stride, rest = problem.dilation;
    while (rest != 0) {
      const int64_t next = divisor % rest;
      divisor = rest;
      rest = next;
    }
    const int64_t tap_step = problem.stride / divisor;
    const int64_t count = tap_step < problem.kernel_size ? tap_step : problem.kernel_size;
    const int64_t outputs = (problem.out_length - 1) / problem.stride + 1;
    return {count, outputs, tap_step, -problem.dilation / divisor, count == problem.stride};
  }

  KERNELOPT_HOST_DEVICE Conv1dPhase phase(const Conv1dProblem& problem, int64_t index) const {
    if (!problem.transposed) {
      return {outputs,        0,          1, problem.kernel_size, 0, 1, -problem.padding,
              problem.stride, in_tap_step};
    }
    // The phase's positions plus padding are `residue` modulo stride; the first is the smallest
    // that is not negative.
    const int64_t reach = index * problem.dilation;
    const int64_t residue = reach % problem.stride;
    const int64_t skipped =
        residue < problem.padding ? (problem.padding - residue - 1) / problem.stride + 1 : 0;
    const int64_t out_start = residue - problem.padding + skipped * problem.stride;
    const int64_t in_phase = out_start < problem.out_length
                                 ? (problem.out_length - 1 - out_start) / problem.stride + 1
                                 : 0;
    const int64_t taps = (problem.kernel_size - index - 1) / tap_step + 1;
    const int64_t in_start = (residue - reach) / problem.stride + skipped;
    return {in_phase, out_start, problem.stride, taps, index, tap_step, in_start, 1, in_tap_step};
  }
};

}  // namespace kernelopt
