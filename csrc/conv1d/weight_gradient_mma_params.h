// What the tensor-core weight gradient is told, by value. Includes no torch header.
#pragma once

#include "conv1d/conv1d_weight_gradient_mma_policy.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// How runs of one operand's memory are copied, rows along the length or the channels of a
/// position: in pieces of 16 bytes where every run starts on a 16-byte boundary, else of 4. A run
/// of a tile has `pieces` of them.
struct GradientCopy {
  int64_t batch_stride, channel_stride, length_stride;
  int channels;  // of a group
  int length;
  bool wide;
  int pieces;
  uint32_t divide_by_pieces;  // index / pieces = the high word of index * this
};

/// A problem within 32-bit positions, and its grid.
template <typename T>
struct WeightGradientParams {
  using Element = T;
  const T* steady;
  const T* shifted;
  float* partial;  // [shares, numel]
  GradientCopy steady_copy, shifted_copy;
  int64_t numel;
  int kernel_size, stride, padding, dilation;

  // The grid: steady tiles, shifted tiles, chunks of taps, groups, shares, from the fastest.
  int steady_tiles, shifted_tiles, tap_chunks, groups;
  int row_steps;  // of a batch entry
  int64_t steps, steps_per_share;
  int flush_steps;  // after which sums are added to those in device memory
};

/// For mma.sync; its grid's share writes kWarpsK partial gradients.
template <typename T>
struct WeightGradientMmaParams : WeightGradientParams<T> {
  int stages;
  int window_pitch;   // words of a shifted channel's row, 4 modulo 8: no bank conflicts
  int shifted_words;  // of a stage
};

}  // namespace kernelopt
