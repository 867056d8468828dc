// The input gradient of a depthwise convolution with a stride, in gather form:
//   grad_input[n, c, y, x] = sum over f of channel c and taps (i, j) of weight[f, i, j] *
//       grad_z[n, f, (y + pad_h - i * dil_h) / stride_h, (x + pad_w - j * dil_w) / stride_w]
// over the taps for which both quotients are whole. A thread owns kVec channels of one pixel;
// neighbours own neighbouring columns (contiguous, kVec = 1) or channels (channels_last, the weight
// as [i, j, f]; kVec > 1 needs one filter a channel, channels divisible by kVec and 16-byte
// alignment). `Index` is 32-bit where every size is below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

namespace kernelopt {

/// Along an axis the taps that meet a result are k0, k0 + tap, ..., and the source moves by
/// `source` back from one to the next: stride and dilation, each divided by their greatest common
/// divisor. So a thread looks for k0 once and divides no more.
struct TapStep {
  int64_t tap;
  int64_t source;
};

/// The first tap that meets a result, and the source index there; tap = kernel_size if none does.
template <typename Index>
struct TapRun {
  Index tap;
  Index source;
};

template <typename Index>
__device__ __forceinline__ TapRun<Index> first_tap(const DepthwiseAxis& axis, const TapStep& step,
                                                   Index result) {
  const Index stride = static_cast<Index>(axis.stride);
  const Index dilation = static_cast<Index>(axis.dilation);
  const Index kernel_size = static_cast<Index>(axis.kernel_size);
  const Index candidates = step.tap < axis.kernel_size ? static_cast<Index>(step.tap) : kernel_size;
  Index position = result + static_cast<Index>(axis.padding);
  for (Index tap = 0; tap < candidates; ++tap) {
    const Index source = position / stride;
    if (source * stride == position) {
      return {tap, source};
    }
    position -= dilation;
  }
  return {kernel_size, 0};
}

template <typename T, bool kChannelsLast, int kVec, typename Index>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_strided_gradient_kernel(const __grid_constant__ DepthwiseParams params,
                                      const T* __restrict__ source,  // [N, source_channels, h, w]
                                      const T* __restrict__ weight,  // [filters, KH, KW]
                                      T* __restrict__ result,        // [N, result_channels, h, w]
                                      TapStep step_h, TapStep step_w, Index items) {
  using A = AccumulateType<T>;
  using Vector = Vec<T, kVec>;
  const Index item = static_cast<Index>(blockIdx.x) * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items) {
    return;
  }
  const Index height = static_cast<Index>(params.h.result_size);
  const Index width = static_cast<Index>(params.w.result_size);
  const Index vectors = static_cast<Index>(params.result_channels) / kVec;
  Index n, channel, y, x;
  if constexpr (kChannelsLast) {
    // item = ((n * height + y) * width + x) * vectors + vector
    Index rest = item / vectors;
    channel = (item - rest * vectors) * kVec;
    x = rest % width;
    rest /= width;
    n = rest / height;
    y = rest - n * height;
  } else {
    // item = ((n * channels + channel) * height + y) * width + x
    Index rest = item / width;
    x = item - rest * width;
    y = rest % height;
    rest /= height;
    n = rest / vectors;
    channel = rest - n * vectors;
  }

  const Index source_height = static_cast<Index>(params.h.source_size);
  const Index source_width = static_cast<Index>(params.w.source_size);
  const int64_t source_plane = params.h.source_size * params.w.source_size;
  const int64_t taps = params.h.kernel_size * params.w.kernel_size;
  // Elements between neighbours along each dimension.
  const int64_t pixel_stride = kChannelsLast ? params.source_channels : 1;
  const int64_t channel_stride = kChannelsLast ? 1 : source_plane;
  const int64_t tap_stride = kChannelsLast ? params.source_channels : 1;
  const int64_t filter_stride = kChannelsLast ? 1 : taps;

  const TapRun<Index> first_row = first_tap(params.h, step_h, y);
  const TapRun<Index> first_column = first_tap(params.w, step_w, x);
  A sums[kVec];
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    sums[v] = 0;
  }
  const Index filters = static_cast<Index>(params.filters);
  for (Index f = channel * filters; f < (channel + 1) * filters; ++f) {
    const T* plane =
        source + int64_t{n} * params.source_channels * source_plane + f * channel_stride;
    Index row = first_row.source;
    for (Index i = first_row.tap; i < static_cast<Index>(params.h.kernel_size) && row >= 0;
         i += static_cast<Index>(step_h.tap), row -= static_cast<Index>(step_h.source)) {
      if (row >= source_height) {
        continue;
      }
      Index column = first_column.source;
      for (Index j = first_column.tap; j < static_cast<Index>(params.w.kernel_size) && column >= 0;
           j += static_cast<Index>(step_w.tap), column -= static_cast<Index>(step_w.source)) {
        if (column >= source_width) {
          continue;
        }
        const Vector tap_values = *reinterpret_cast<const Vector*>(
            weight + f * filter_stride + (i * params.w.kernel_size + j) * tap_stride);
        const Vector values = *reinterpret_cast<const Vector*>(
            plane + (row * params.w.source_size + column) * pixel_stride);
#pragma unroll
        for (int v = 0; v < kVec; ++v) {
          sums[v] += to_accumulate(tap_values.values[v]) * to_accumulate(values.values[v]);
        }
      }
    }
  }

  Vector values;
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    values.values[v] = from_accumulate<T>(sums[v]);
  }
  reinterpret_cast<Vector*>(result)[item] = values;
}

}  // namespace kernelopt
