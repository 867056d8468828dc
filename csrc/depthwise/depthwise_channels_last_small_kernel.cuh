// The small kernel's correlation (depthwise_small_kernel.cuh) for channels_last tensors, dilation
// 1: a warp owns kRows by kColumns neighbouring pixels and 32 channels, a lane the results of one
// channel. Filters pass through shared memory, which reads them in one piece. Coordinates and
// items below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "common/padded_sum.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"
#include "elementwise/fast_iteration.h"

namespace kernelopt {

/// From a block and an item to their places: block = item block * channel_blocks + channel block,
/// item = (n * strips + strip) * column_groups + column group.
struct DepthwiseChannelsLastItems {
  unsigned items;
  FastDivisor channel_blocks;
  FastDivisor column_groups;
  FastDivisor strips;
  FastDivisor multiplier;
};

template <typename T, int kHeight, int kWidth, int kStride, int kRows, int kColumns>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads) depthwise_channels_last_small_kernel(
    const __grid_constant__ DepthwiseParams params,
    const T* __restrict__ source,  // [N, h, w, source_channels]
    const T* __restrict__ weight,  // [result_channels, kHeight, kWidth]
    const T* __restrict__ bias,    // [result_channels] or null
    T* __restrict__ result,        // [N, h, w, result_channels]
    Activation activation, const __grid_constant__ DepthwiseChannelsLastItems places) {
  constexpr int kLanes = 32, kTaps = kHeight * kWidth, kThreads = DepthwisePolicy::kThreads;
  constexpr int kSourceRows = (kRows - 1) * kStride + kHeight;
  constexpr int kSourceColumns = (kColumns - 1) * kStride + kWidth;
  constexpr int kTapsOfThread = (kLanes * kTaps + kThreads - 1) / kThreads;
  __shared__ float shared_taps[kTaps][kLanes + 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kLanes;
  const unsigned item_block = places.channel_blocks.quotient(blockIdx.x);
  const int block_channel =
      static_cast<int>(blockIdx.x - item_block * places.channel_blocks.divisor) * kLanes;
  const int channels = static_cast<int>(params.result_channels);
  const int channel = min(block_channel + lane, channels - 1);
  const unsigned own_item = item_block * (kThreads / kLanes) + thread / kLanes;
  const unsigned item = min(own_item, places.items - 1);
  const bool active = own_item < places.items && block_channel + lane < channels;

  const unsigned line = places.column_groups.quotient(item);
  const int column = static_cast<int>(item - line * places.column_groups.divisor) * kColumns;
  const unsigned n = places.strips.quotient(line);
  const int row = static_cast<int>(line - n * places.strips.divisor) * kRows;
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int first_y = row * kStride - static_cast<int>(params.h.padding);
  const int first_x = column * kStride - static_cast<int>(params.w.padding);
  const int64_t pitch = params.source_channels;
  const T* const image =
      source + int64_t{n} * height * width * pitch + places.multiplier.quotient(channel);

  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  // Both kinds of loads are under way before the first is waited for.
  T filter[kTapsOfThread];
  const int filters_end = min(kLanes, channels - block_channel) * kTaps;
#pragma unroll
  for (int u = 0; u < kTapsOfThread; ++u) {
    const int i = thread + u * kThreads;
    filter[u] =
        i < filters_end ? weight[int64_t{block_channel} * kTaps + i] : from_accumulate<T>(0.0f);
  }
  // Where the window leaves the image it reads the image's edge, so that no load has to wait for a
  // branch, and counts zeros.
  T loaded[kSourceRows][kSourceColumns];
#pragma unroll
  for (int i = 0; i < kSourceRows; ++i) {
    const T* const line_from =
        image + int64_t{min(max(first_y + i, 0), height - 1)} * width * pitch;
#pragma unroll
    for (int j = 0; j < kSourceColumns; ++j) {
      loaded[i][j] = line_from[min(max(first_x + j, 0), width - 1) * pitch];
    }
  }
  const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
#pragma unroll
  for (int u = 0; u < kTapsOfThread; ++u) {
    const int i = thread + u * kThreads;
    const int at = i / kTaps, tap = i - at * kTaps;
    if (at < kLanes) {
      shared_taps[params.flipped ? kTaps - 1 - tap : tap][at] = to_accumulate(filter[u]);
    }
  }
  __syncthreads();
  if (!active) {
    return;
  }

  float sums[kRows][kColumns];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      sums[r][c] = start;
    }
  }
  float values[kSourceRows][kSourceColumns];
#pragma unroll
  for (int i = 0; i < kSourceRows; ++i) {
#pragma unroll
    for (int j = 0; j < kSourceColumns; ++j) {
      const bool inside =
          first_y + i >= 0 && first_y + i < height && first_x + j >= 0 && first_x + j < width;
      values[i][j] = inside ? to_accumulate(loaded[i][j]) : 0.0f;
    }
  }
  float zero = 0.0f;
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    const float value = shared_taps[tap][lane];
    zero += value * 0.0f;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        sums[r][c] += value * values[r * kStride + tap / kWidth][c * kStride + tap % kWidth];
      }
    }
  }
  if (zero != 0.0f) {
    // The zeros outside the image must not meet these taps.
    const int step = params.flipped ? -1 : 1;
    PaddedTaps<T> padded{weight + int64_t{channel} * kTaps + (params.flipped ? kTaps - 1 : 0),
                         step * kWidth, step};
    const int pixel_bytes = static_cast<int>(pitch * sizeof(T));
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int y = first_y + r * kStride;
      padded.limit(y, height, kHeight, 1, padded.row_begin, padded.row_end);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const int x = first_x + c * kStride;
        padded.limit(x, width, kWidth, 1, padded.column_begin, padded.column_end);
        const T* const from = image + (int64_t{y} * width + x) * pitch;
        sums[r][c] = padded.sum(start, reinterpret_cast<const unsigned char*>(from),
                                width * pixel_bytes, pixel_bytes);
      }
    }
  }
  const int result_width = static_cast<int>(params.w.result_size);
  const int result_height = static_cast<int>(params.h.result_size);
  T* const to =
      result +
      ((int64_t{n} * result_height + row) * result_width + column) * params.result_channels +
      channel;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (row + r < result_height && column + c < result_width) {
        to[(int64_t{r} * result_width + c) * params.result_channels] =
            from_accumulate<T>(apply_activation(activation, sums[r][c]));
      }
    }
  }
}

}  // namespace kernelopt
