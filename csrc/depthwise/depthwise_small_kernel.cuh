// The sliding kernel's correlation (depthwise_sliding_kernel.cuh) for tensors so small that latency
// is their time: a thread reads what its kRows results of a column need at once, straight into
// registers, and stores them straight to memory. Neighbours own neighbouring columns. Coordinates
// and elements below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

namespace kernelopt {

template <typename T, int kHeight, int kWidth, int kStride, int kRows>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_small_kernel(const __grid_constant__ DepthwiseParams params,
                           const T* __restrict__ source,  // [N, source_channels, h, w]
                           const T* __restrict__ weight,  // [result_channels, kHeight, kWidth]
                           const T* __restrict__ bias,    // [result_channels] or null
                           T* __restrict__ result,        // [N, result_channels, h, w]
                           Activation activation, unsigned strips, unsigned items) {
  constexpr int kSourceRows = (kRows - 1) * kStride + kHeight;
  constexpr int kTaps = kHeight * kWidth;
  const unsigned item = blockIdx.x * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items) {
    return;
  }
  const unsigned result_width = static_cast<unsigned>(params.w.result_size);
  const unsigned rest = item / result_width;
  const int column = static_cast<int>(item - rest * result_width);
  const unsigned plane = rest / strips;
  const int row = static_cast<int>(rest - plane * strips) * kRows;
  const unsigned n = plane / static_cast<unsigned>(params.result_channels);
  const int channel = static_cast<int>(plane - n * static_cast<unsigned>(params.result_channels));
  const int source_channel = channel / static_cast<int>(params.multiplier);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int first_y = row * kStride - static_cast<int>(params.h.padding);
  const int first_x = column * kStride - static_cast<int>(params.w.padding);

  const T* const image =
      source + (n * static_cast<unsigned>(params.source_channels) + source_channel) *
                   static_cast<unsigned>(height * width);
  float values[kSourceRows][kWidth];
#pragma unroll
  for (int i = 0; i < kSourceRows; ++i) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int y = first_y + i, x = first_x + j;
      const bool inside = y >= 0 && y < height && x >= 0 && x < width;
      values[i][j] = inside ? to_accumulate(image[y * width + x]) : 0.0f;
    }
  }
  const T* const filter = weight + channel * kTaps;
  float taps[kTaps];
  float zero = 0.0f;
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    taps[tap] = to_accumulate(filter[params.flipped ? kTaps - 1 - tap : tap]);
  }
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    zero += taps[tap] * 0.0f;
  }
  const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
  T* to = result +
          (plane * static_cast<unsigned>(params.h.result_size) + row) * result_width + column;
  const bool finite = zero == 0.0f;
#pragma unroll
  for (int o = 0; o < kRows; ++o) {
    float sum = start;
#pragma unroll
    for (int i = 0; i < kHeight; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        sum += taps[i * kWidth + j] * values[o * kStride + i][j];
      }
    }
    if (!finite) {
      // The zeros outside the image must not meet taps that are not finite.
      sum = start;
#pragma unroll
      for (int i = 0; i < kHeight; ++i) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) {
          const int y = first_y + o * kStride + i, x = first_x + j;
          if (y >= 0 && y < height && x >= 0 && x < width) {
            sum += taps[i * kWidth + j] * values[o * kStride + i][j];
          }
        }
      }
    }
    if (row + o < static_cast<int>(params.h.result_size)) {
      to[o * result_width] = from_accumulate<T>(apply_activation(activation, sum));
    }
  }
}

}  // namespace kernelopt
