// The sliding kernel's correlation (depthwise_sliding_kernel.cuh) for tensors so small that latency
// is their time, and for dilated kernels: a thread reads what its kRows results of a column need at
// once, straight into registers, and stores them straight to memory. Its rows are a dilation apart,
// neighbours own neighbouring columns. Coordinates and items below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

namespace kernelopt {

/// @tparam kDilated  false where the dilation is 1
template <typename T, int kHeight, int kWidth, int kStride, int kRows, bool kDilated>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_small_kernel(const __grid_constant__ DepthwiseParams params,
                           const T* __restrict__ source,  // [N, source_channels, h, w]
                           const T* __restrict__ weight,  // [result_channels, kHeight, kWidth]
                           const T* __restrict__ bias,    // [result_channels] or null
                           T* __restrict__ result,        // [N, result_channels, h, w]
                           Activation activation, unsigned strips, unsigned items) {
  static_assert(kStride == 1 || !kDilated, "rows a dilation apart share no source rows");
  constexpr int kSourceRows = (kRows - 1) * kStride + kHeight;
  constexpr int kTaps = kHeight * kWidth;
  const unsigned item = blockIdx.x * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items) {
    return;
  }
  const int dilation_h = kDilated ? static_cast<int>(params.h.dilation) : 1;
  const int dilation_w = kDilated ? static_cast<int>(params.w.dilation) : 1;
  const unsigned result_width = static_cast<unsigned>(params.w.result_size);
  const unsigned rest = item / result_width;
  const int column = static_cast<int>(item - rest * result_width);
  const unsigned plane = rest / strips;
  const int strip = static_cast<int>(rest - plane * strips);
  const int unit = kDilated ? strip / dilation_h : strip;
  const int row = unit * dilation_h * kRows + (strip - unit * dilation_h);
  const unsigned n = plane / static_cast<unsigned>(params.result_channels);
  const int channel = static_cast<int>(plane - n * static_cast<unsigned>(params.result_channels));
  const int source_channel = channel / static_cast<int>(params.multiplier);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int result_height = static_cast<int>(params.h.result_size);
  const int first_y = row * kStride - static_cast<int>(params.h.padding);
  const int first_x = column * kStride - static_cast<int>(params.w.padding);
  const auto inside = [&](int i, int j) {
    const int y = first_y + i * dilation_h, x = first_x + j * dilation_w;
    return y >= 0 && y < height && x >= 0 && x < width;
  };

  const T* const image =
      source + (int64_t{n} * params.source_channels + source_channel) * height * width;
  float values[kSourceRows][kWidth];
#pragma unroll
  for (int i = 0; i < kSourceRows; ++i) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int offset = (first_y + i * dilation_h) * width + first_x + j * dilation_w;
      values[i][j] = inside(i, j) ? to_accumulate(image[offset]) : 0.0f;
    }
  }
  const T* const filter = weight + int64_t{channel} * kTaps;
  float taps[kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    taps[tap] = to_accumulate(filter[params.flipped ? kTaps - 1 - tap : tap]);
  }
  float zero = 0.0f;
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    zero += taps[tap] * 0.0f;
  }
  const bool finite = zero == 0.0f;
  const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
  T* const to = result + (int64_t{plane} * result_height + row) * result_width + column;
#pragma unroll
  for (int o = 0; o < kRows; ++o) {
    float sum = start;
    if (finite) {
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        sum += taps[tap] * values[o * kStride + tap / kWidth][tap % kWidth];
      }
    } else {
      // The zeros outside the image must not meet these taps.
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        const int i = o * kStride + tap / kWidth, j = tap % kWidth;
        sum += inside(i, j) ? taps[tap] * values[i][j] : 0.0f;
      }
    }
    if (row + o * dilation_h < result_height) {
      to[int64_t{o} * dilation_h * result_width] =
          from_accumulate<T>(apply_activation(activation, sum));
    }
  }
}

}  // namespace kernelopt
