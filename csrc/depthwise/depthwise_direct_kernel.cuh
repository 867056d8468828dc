// A depthwise correlation with any kernel size, stride, padding and dilation:
//   result[n, r, y, x] = act(bias[r] + sum over f, i, j of weight[f, i, j] * source[n, f /
//   multiplier,
//       y * stride_h - pad_h + i * dil_h, x * stride_w - pad_w + j * dil_w])
// contiguous: a thread owns kDirectItems rows of a column, neighbours own neighbouring columns.
// channels_last: a thread owns kDirectItems columns of kVec channels, neighbours own neighbouring
// channels, the weight comes as [i, j, f]; kVec > 1 needs filters = multiplier = 1, channels
// divisible by kVec and 16-byte alignment. `Index` is 32-bit where every size is below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

namespace kernelopt {

template <typename T, typename Index>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_direct_kernel(const __grid_constant__ DepthwiseParams params,
                            const T* __restrict__ source,  // [N, source_channels, h, w]
                            const T* __restrict__ weight,  // [filters, KH, KW]
                            const T* __restrict__ bias,    // [result_channels] or null
                            T* __restrict__ result,        // [N, result_channels, h, w]
                            Activation activation, Index strips, Index items) {
  using A = AccumulateType<T>;
  constexpr int kRows = DepthwisePolicy::kDirectItems;
  const Index item = static_cast<Index>(blockIdx.x) * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items) {
    return;
  }
  const Index result_width = static_cast<Index>(params.w.result_size);
  const Index result_height = static_cast<Index>(params.h.result_size);
  const Index source_width = static_cast<Index>(params.w.source_size);
  const Index source_height = static_cast<Index>(params.h.source_size);
  const Index kernel_height = static_cast<Index>(params.h.kernel_size);
  const Index kernel_width = static_cast<Index>(params.w.kernel_size);
  const Index dilation_h = static_cast<Index>(params.h.dilation);
  const Index dilation_w = static_cast<Index>(params.w.dilation);
  const Index stride_h = static_cast<Index>(params.h.stride);

  const Index rest = item / result_width;
  const Index x = item - rest * result_width;
  const Index plane = rest / strips;
  const Index y0 = (rest - plane * strips) * kRows;
  const Index n = plane / static_cast<Index>(params.result_channels);
  const Index channel = plane - n * static_cast<Index>(params.result_channels);
  const Index column0 =
      x * static_cast<Index>(params.w.stride) - static_cast<Index>(params.w.padding);
  const Index row0 = y0 * stride_h - static_cast<Index>(params.h.padding);

  A sums[kRows];
  const A start = bias == nullptr ? A(0) : to_accumulate(bias[channel]);
#pragma unroll
  for (int item_row = 0; item_row < kRows; ++item_row) {
    sums[item_row] = start;
  }
  const Index filters = static_cast<Index>(params.filters);
  for (Index f = channel * filters; f < (channel + 1) * filters; ++f) {
    const int64_t source_plane =
        int64_t{n} * params.source_channels + f / static_cast<Index>(params.multiplier);
    const T* plane_pointer = source + source_plane * params.h.source_size * params.w.source_size;
    // A flipped kernel is read backwards.
    const int64_t taps = params.h.kernel_size * params.w.kernel_size;
    const T* tap = weight + f * taps + (params.flipped ? taps - 1 : 0);
    const int step = params.flipped ? -1 : 1;
    for (Index i = 0; i < kernel_height; ++i) {
      const Index row = row0 + i * dilation_h;
      for (Index j = 0; j < kernel_width; ++j) {
        const A tap_value = to_accumulate(*tap);
        tap += step;
        const Index column = column0 + j * dilation_w;
        const bool column_inside = column >= 0 && column < source_width;
#pragma unroll
        for (int item_row = 0; item_row < kRows; ++item_row) {
          const Index y = row + item_row * stride_h;
          if (column_inside && y >= 0 && y < source_height) {
            sums[item_row] += tap_value * to_accumulate(plane_pointer[y * source_width + column]);
          }
        }
      }
    }
  }

  T* output = result + (int64_t{plane} * result_height + y0) * result_width + x;
#pragma unroll
  for (int item_row = 0; item_row < kRows; ++item_row) {
    if (y0 + item_row < result_height) {
      *output = from_accumulate<T>(apply_activation(activation, sums[item_row]));
    }
    output += result_width;
  }
}

template <typename T, int kVec, typename Index>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_channels_last_kernel(const __grid_constant__ DepthwiseParams params,
                                   const T* __restrict__ source,  // [N, h, w, source_channels]
                                   const T* __restrict__ weight,  // [KH, KW, filters]
                                   const T* __restrict__ bias,    // [result_channels] or null
                                   T* __restrict__ result,        // [N, h, w, result_channels]
                                   Activation activation, Index strips, Index items) {
  using A = AccumulateType<T>;
  using Vector = Vec<T, kVec>;
  constexpr int kColumns = DepthwisePolicy::kDirectItems;
  const Index item = static_cast<Index>(blockIdx.x) * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items) {
    return;
  }
  const Index vectors = static_cast<Index>(params.result_channels) / kVec;
  const Index result_height = static_cast<Index>(params.h.result_size);
  const Index source_width = static_cast<Index>(params.w.source_size);
  const Index source_height = static_cast<Index>(params.h.source_size);
  const Index kernel_height = static_cast<Index>(params.h.kernel_size);
  const Index kernel_width = static_cast<Index>(params.w.kernel_size);
  const Index stride_w = static_cast<Index>(params.w.stride);

  // item = ((n * result_height + y) * strips + strip) * vectors + vector
  Index rest = item / vectors;
  const Index channel = (item - rest * vectors) * kVec;
  const Index line = rest / strips;
  const Index x0 = (rest - line * strips) * kColumns;
  const Index n = line / result_height;
  const Index y = line - n * result_height;
  const Index column0 = x0 * stride_w - static_cast<Index>(params.w.padding);
  const Index row0 = y * static_cast<Index>(params.h.stride) - static_cast<Index>(params.h.padding);
  const int64_t all_filters = params.result_channels * params.filters;

  A sums[kColumns][kVec];
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    const A start = bias == nullptr ? A(0) : to_accumulate(bias[channel + v]);
#pragma unroll
    for (int item_column = 0; item_column < kColumns; ++item_column) {
      sums[item_column][v] = start;
    }
  }
  const Index filters = static_cast<Index>(params.filters);
  for (Index f = channel * filters; f < (channel + 1) * filters; ++f) {
    const Index source_channel = f / static_cast<Index>(params.multiplier);
    const int64_t taps = params.h.kernel_size * params.w.kernel_size;
    const T* tap = weight + f + (params.flipped ? (taps - 1) * all_filters : 0);
    const int64_t step = params.flipped ? -all_filters : all_filters;
    for (Index i = 0; i < kernel_height; ++i) {
      const Index row = row0 + i * static_cast<Index>(params.h.dilation);
      if (row < 0 || row >= source_height) {
        tap += step * kernel_width;
        continue;
      }
      const T* row_pointer =
          source + (int64_t{n} * source_height + row) * source_width * params.source_channels +
          source_channel;
      for (Index j = 0; j < kernel_width; ++j) {
        const Vector tap_values = *reinterpret_cast<const Vector*>(tap);
        tap += step;
        const Index tap_column = column0 + j * static_cast<Index>(params.w.dilation);
#pragma unroll
        for (int item_column = 0; item_column < kColumns; ++item_column) {
          const Index column = tap_column + item_column * stride_w;
          if (column >= 0 && column < source_width) {
            const Vector values =
                *reinterpret_cast<const Vector*>(row_pointer + column * params.source_channels);
#pragma unroll
            for (int v = 0; v < kVec; ++v) {
              sums[item_column][v] +=
                  to_accumulate(tap_values.values[v]) * to_accumulate(values.values[v]);
            }
          }
        }
      }
    }
  }

  T* output =
      result + (int64_t{line} * params.w.result_size + x0) * params.result_channels + channel;
#pragma unroll
  for (int item_column = 0; item_column < kColumns; ++item_column) {
    if (x0 + item_column < static_cast<Index>(params.w.result_size)) {
      Vector values;
#pragma unroll
      for (int v = 0; v < kVec; ++v) {
        values.values[v] = from_accumulate<T>(apply_activation(activation, sums[item_column][v]));
      }
      *reinterpret_cast<Vector*>(output) = values;
    }
    output += params.result_channels;
  }
}

}  // namespace kernelopt
