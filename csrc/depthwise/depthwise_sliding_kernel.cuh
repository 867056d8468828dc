// A depthwise correlation of contiguous tensors with a kernel size, a stride and dilation 1 known
// at compile time:
//   result[n, r, y, x] = act(bias[r] + sum over f, i, j of weight[f, i, j] *
//                            source[n, f / multiplier, y * S - pad_h + i, x * S - pad_w + j])
// A thread owns one column of kRows results and slides down its source rows: weights stay in
// registers, each source row is loaded once. Neighbours in a warp own neighbouring columns, so
// every load and store is coalesced whatever the padding. Any size and padding; sizes below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

namespace kernelopt {

template <typename T, int kHeight, int kWidth, int kStride>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_sliding_kernel(const __grid_constant__ DepthwiseParams params,
                             const T* __restrict__ source,  // [N, source_channels, h, w]
                             const T* __restrict__ weight,  // [filters, kHeight, kWidth]
                             const T* __restrict__ bias,    // [result_channels] or null
                             T* __restrict__ result,        // [N, result_channels, h, w]
                             Activation activation, int strips, int items) {
  using A = AccumulateType<T>;
  constexpr int kRows = DepthwisePolicy::kSlidingRows;
  constexpr int kSourceRows = (kRows - 1) * kStride + kHeight;
  constexpr int kTaps = kHeight * kWidth;

  const int item = static_cast<int>(blockIdx.x) * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items) {
    return;
  }
  const int result_width = static_cast<int>(params.w.result_size);
  const int result_height = static_cast<int>(params.h.result_size);
  const int source_width = static_cast<int>(params.w.source_size);
  const int source_height = static_cast<int>(params.h.source_size);
  const int rest = item / result_width;
  const int x = item - rest * result_width;
  const int plane = rest / strips;
  const int y0 = (rest - plane * strips) * kRows;
  const int n = plane / static_cast<int>(params.result_channels);
  const int channel = plane - n * static_cast<int>(params.result_channels);

  const int column0 = x * kStride - static_cast<int>(params.w.padding);
  const int row0 = y0 * kStride - static_cast<int>(params.h.padding);
  bool column_inside[kWidth];
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    column_inside[j] = column0 + j >= 0 && column0 + j < source_width;
  }

  A sums[kRows];
  const A start = bias == nullptr ? A(0) : to_accumulate(bias[channel]);
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    sums[row] = start;
  }
  const int filters = static_cast<int>(params.filters);
  const int multiplier = static_cast<int>(params.multiplier);
  for (int f = channel * filters; f < (channel + 1) * filters; ++f) {
    A taps[kTaps];
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      const int position = params.flipped ? kTaps - 1 - tap : tap;
      taps[tap] = to_accumulate(weight[static_cast<int64_t>(f) * kTaps + position]);
    }
    const int64_t source_plane = int64_t{n} * params.source_channels + f / multiplier;
    const T* pointer = source + (source_plane * source_height + row0) * source_width + column0;
#pragma unroll
    for (int i = 0; i < kSourceRows; ++i) {
      const bool row_inside = row0 + i >= 0 && row0 + i < source_height;
      A values[kWidth];
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        values[j] = row_inside && column_inside[j] ? to_accumulate(pointer[j]) : A(0);
      }
      pointer += source_width;
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
        const int tap_row = i - row * kStride;
        if (tap_row >= 0 && tap_row < kHeight) {
#pragma unroll
          for (int j = 0; j < kWidth; ++j) {
            sums[row] += taps[tap_row * kWidth + j] * values[j];
          }
        }
      }
    }
  }

  T* output = result + (int64_t{plane} * result_height + y0) * result_width + x;
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    if (y0 + row < result_height) {
      *output = from_accumulate<T>(apply_activation(activation, sums[row]));
    }
    output += result_width;
  }
}

}  // namespace kernelopt
