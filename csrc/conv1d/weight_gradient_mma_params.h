// What the tensor-core weight gradient is told, by value. Includes no torch header.
#pragma once

#include "conv1d/conv1d_weight_gradient_mma_policy.h"
#include "conv1d/weight_gradient_problem.h"

namespace kernelopt {

/// A problem within 32-bit positions whose rows run along the length, and how it is cut.
///
/// A block's window of `shifted` lies in shared memory as sequences of pairs: word w of sequence q
/// holds the elements at x + sequence_first[q] + 2 * stride * w and one stride further, where x
/// is the position that the first tap of the block meets first. Tap t reads words from tap_word[t]
/// on. For fp32 the low parts follow part_words after the high ones.
template <typename T>
struct WeightGradientMmaParams {
  const T* steady;
  const T* shifted;
  float* partial;  // [shares * kWarpsK, numel]
  int64_t steady_batch_stride, steady_channel_stride;
  int64_t shifted_batch_stride, shifted_channel_stride;
  int64_t numel;
  int batch;
  int steady_channels, shifted_channels;  // of a group
  int steady_length, shifted_length;
  int kernel_size, stride, padding, dilation;

  // The grid: steady tiles, shifted tiles, chunks of taps, groups, shares, from the fastest.
  int steady_tiles, shifted_tiles, tap_chunks, groups;
  int row_steps;  // of a batch entry
  int64_t steps, steps_per_share;
  int flush_steps;
  int stages;
  bool steady_leads, shifted_leads;  // whether rows may start inside an aligned pair

  int sequences, sequence_words;
  int part_words;
  int window_pitch;  // words of a channel, 4 modulo 8: fragments are read without bank conflicts
  int sequence_first[WeightGradientLimits::kMaxTaps];
  int tap_word[WeightGradientLimits::kMaxTaps];
};

}  // namespace kernelopt
