// One 1-D correlation for the tensor cores, and how its launch is cut. Passed to kernels by value.
// Includes no torch header.
#pragma once

#include "common/mma.cuh"

namespace kernelopt {

/// Sizes and strides are in elements; the position stride of the input is 1.
template <typename T>
struct CorrelationParams {
  const T* input;              // [batch, groups * in_channels, input_length]
  const T* weight;             // the caller's weight, for the exact recomputation of a NaN
  const uint4* packed_weight;  // [group][m block][channel chunk][tap][m tile][part][lane]
  const T* bias;               // [groups * out_channels] or null
  T* output;                   // [batch, groups * out_channels, ...]
  int64_t input_batch_stride, input_channel_stride;
  int64_t output_batch_stride, output_channel_stride;
  int64_t weight_group_stride, weight_out_stride, weight_in_stride, weight_tap_stride;
  int batch, groups, in_channels, out_channels;  // channels of one group
  int taps, input_length, positions;
  int input_step, input_first, tap_step;
  int64_t output_first, output_step;
  Activation activation;
  // How the launch cuts the work.
  int m_blocks, n_tiles, channel_chunks, taps_per_step;
  int window_pitch, packed_pitch;  // in 4-byte words, of one row of a window
  bool resident_weights;
};

constexpr int kChunkChannels = 16;  // the k of one mma
constexpr int kWarpN = 32;

}  // namespace kernelopt
