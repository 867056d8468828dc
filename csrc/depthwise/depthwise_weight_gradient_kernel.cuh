// partial[share, f, i, j] = sum over the share's (n, y, x) of
//   grad_z[n, f, y, x] * input[n, f / multiplier, y * stride_h - pad_h + i * dil_h, ...]
// The sum over n, y, x is cut in shares, which share_sum_kernel adds in order: no atomics. A block
// owns one share and a kRows x kColumns tile of the taps, kept as sums in registers.
// contiguous:    a block owns one filter; its threads take neighbouring x.
// channels_last: a block owns 32 filters, a lane one of them; its warps take turns at the pixels.
// `Index` is 32-bit where every size is below 2^30, else 64-bit.
#pragma once

#include "common/cuda.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

namespace kernelopt {

/// What a block owns; blockIdx.x = ((share * tiles_h + tile_h) * tiles_w + tile_w) * groups +
/// group, a group being a filter or 32 of them.
struct WeightGradientBlock {
  int64_t group;
  int64_t share;
  int64_t tap_row;
  int64_t tap_column;
};

template <int kRows, int kColumns>
__device__ __forceinline__ WeightGradientBlock
weight_gradient_block(const DepthwiseWeightGradientParams& params, int64_t groups) {
  int64_t rest = blockIdx.x;
  WeightGradientBlock block;
  block.group = rest % groups;
  rest /= groups;
  block.tap_column = rest % params.tiles_w * kColumns;
  rest /= params.tiles_w;
  block.tap_row = rest % params.tiles_h * kRows;
  block.share = rest / params.tiles_h;
  return block;
}

/// Adds one element's products to the tile's sums.
/// @param input_plane  the element's image and channel
/// @param row, column  where the tile's first tap meets the input
template <typename T, int kRows, int kColumns, typename Index>
__device__ __forceinline__ void accumulate_taps(AccumulateType<T> (&sums)[kRows * kColumns],
                                                const DepthwiseWeightGradientParams& params,
                                                AccumulateType<T> grad,
                                                const T* __restrict__ input_plane,
                                                int64_t pixel_stride, Index row, Index column) {
  using A = AccumulateType<T>;
  const Index height = static_cast<Index>(params.h.source_size);
  const Index width = static_cast<Index>(params.w.source_size);
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const Index y = row + i * static_cast<Index>(params.h.dilation);
    const bool row_inside = y >= 0 && y < height;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const Index x = column + j * static_cast<Index>(params.w.dilation);
      const bool inside = row_inside && x >= 0 && x < width;
      const A value =
          inside ? to_accumulate(input_plane[int64_t{y * width + x} * pixel_stride]) : A(0);
      sums[i * kColumns + j] += grad * value;
    }
  }
}

template <typename T, int kRows, int kColumns, typename Index>
__global__ void __launch_bounds__(DepthwiseWeightGradientPolicy::kThreads)
    depthwise_weight_gradient_kernel(
        const __grid_constant__ DepthwiseWeightGradientParams params,
        const T* __restrict__ grad_z,               // [N, filters, h, w]
        const T* __restrict__ input,                // [N, filters / multiplier, h, w]
        AccumulateType<T>* __restrict__ partial) {  // [shares, filters, KH, KW]
  using A = AccumulateType<T>;
  constexpr int kThreads = DepthwiseWeightGradientPolicy::kThreads;
  constexpr int kTaps = kRows * kColumns;
  const WeightGradientBlock block = weight_gradient_block<kRows, kColumns>(params, params.filters);
  const int64_t channel = block.group / params.multiplier;
  const int64_t channels = params.filters / params.multiplier;
  const int64_t input_plane = params.h.source_size * params.w.source_size;
  const int64_t grad_plane = params.h.result_size * params.w.result_size;
  const Index width = static_cast<Index>(params.w.result_size);
  const Index plane_size = static_cast<Index>(grad_plane);
  const Index row_offset = static_cast<Index>(block.tap_row * params.h.dilation - params.h.padding);
  const Index column_offset =
      static_cast<Index>(block.tap_column * params.w.dilation - params.w.padding);

  A sums[kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    sums[tap] = 0;
  }
  const int64_t begin = block.share * params.share_length;
  const int64_t all = params.batch * grad_plane;
  const int64_t end = begin + params.share_length < all ? begin + params.share_length : all;
  for (int64_t element = begin + threadIdx.x; element < end; element += kThreads) {
    const Index n = static_cast<Index>(element) / plane_size;
    const Index pixel = static_cast<Index>(element) - n * plane_size;
    const Index y = pixel / width;
    const Index x = pixel - y * width;
    const A grad = to_accumulate(grad_z[(n * params.filters + block.group) * grad_plane + pixel]);
    accumulate_taps<T, kRows, kColumns, Index>(
        sums, params, grad, input + (n * channels + channel) * input_plane, 1,
        y * static_cast<Index>(params.h.stride) + row_offset,
        x * static_cast<Index>(params.w.stride) + column_offset);
  }

  __shared__ A warp_sums[kThreads / 32][kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    A sum = sums[tap];
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      sum += __shfl_down_sync(0xffffffffu, sum, lanes);
    }
    if (threadIdx.x % 32 == 0) {
      warp_sums[threadIdx.x / 32][tap] = sum;
    }
  }
  __syncthreads();
  const int64_t i = block.tap_row + threadIdx.x / kColumns;
  const int64_t j = block.tap_column + threadIdx.x % kColumns;
  if (threadIdx.x < kTaps && i < params.h.kernel_size && j < params.w.kernel_size) {
    A sum = 0;
#pragma unroll
    for (int warp = 0; warp < kThreads / 32; ++warp) {
      sum += warp_sums[warp][threadIdx.x];
    }
    const int64_t filter = block.share * params.filters + block.group;
    partial[(filter * params.h.kernel_size + i) * params.w.kernel_size + j] = sum;
  }
}

template <typename T, int kRows, int kColumns, typename Index>
__global__ void __launch_bounds__(DepthwiseWeightGradientPolicy::kThreads)
    depthwise_weight_gradient_channels_last_kernel(
        const __grid_constant__ DepthwiseWeightGradientParams params,
        const T* __restrict__ grad_z,               // [N, h, w, filters]
        const T* __restrict__ input,                // [N, h, w, filters / multiplier]
        AccumulateType<T>* __restrict__ partial) {  // [shares, filters, KH, KW]
  using A = AccumulateType<T>;
  constexpr int kChannels = DepthwiseWeightGradientPolicy::kChannels;
  constexpr int kWarps = DepthwiseWeightGradientPolicy::kThreads / kChannels;
  constexpr int kTaps = kRows * kColumns;
  const int lane = threadIdx.x % kChannels;
  const int warp = threadIdx.x / kChannels;
  const WeightGradientBlock block =
      weight_gradient_block<kRows, kColumns>(params, (params.filters + kChannels - 1) / kChannels);
  const int64_t filter = block.group * kChannels + lane;
  const bool owner = filter < params.filters;
  const int64_t channel = filter / params.multiplier;
  const int64_t channels = params.filters / params.multiplier;
  const int64_t input_plane = params.h.source_size * params.w.source_size;
  const Index width = static_cast<Index>(params.w.result_size);
  const Index plane_size = static_cast<Index>(params.h.result_size * params.w.result_size);
  const Index row_offset = static_cast<Index>(block.tap_row * params.h.dilation - params.h.padding);
  const Index column_offset =
      static_cast<Index>(block.tap_column * params.w.dilation - params.w.padding);

  A sums[kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    sums[tap] = 0;
  }
  const int64_t begin = block.share * params.share_length;
  const int64_t all = params.batch * params.h.result_size * params.w.result_size;
  const int64_t end = begin + params.share_length < all ? begin + params.share_length : all;
  for (int64_t element = begin + warp; owner && element < end; element += kWarps) {
    const Index n = static_cast<Index>(element) / plane_size;
    const Index pixel = static_cast<Index>(element) - n * plane_size;
    const Index y = pixel / width;
    const Index x = pixel - y * width;
    accumulate_taps<T, kRows, kColumns, Index>(
        sums, params, to_accumulate(grad_z[element * params.filters + filter]),
        input + n * input_plane * channels + channel, channels,
        y * static_cast<Index>(params.h.stride) + row_offset,
        x * static_cast<Index>(params.w.stride) + column_offset);
  }

  __shared__ A warp_sums[kWarps][kChannels];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    warp_sums[warp][lane] = sums[tap];
    __syncthreads();
    const int64_t i = block.tap_row + tap / kColumns;
    const int64_t j = block.tap_column + tap % kColumns;
    if (warp == 0 && owner && i < params.h.kernel_size && j < params.w.kernel_size) {
      A sum = 0;
#pragma unroll
      for (int other = 0; other < kWarps; ++other) {
        sum += warp_sums[other][lane];
      }
      partial[((block.share * params.filters + filter) * params.h.kernel_size + i) *
                  params.w.kernel_size +
              j] = sum;
    }
    __syncthreads();
  }
}

}  // namespace kernelopt
