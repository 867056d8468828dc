// The weight gradient of contiguous tensors with a kernel size, a stride and dilation 1 known at
// compile time, straight from memory, for tensors so small that latency is their time:
//   partial[share, f, i, j] = sum over the share's n, y, x of
//       grad_z[n, f, y, x] * input[n, f / multiplier, y * S - pad_h + i, x * S - pad_w + j]
// A block owns a filter and a share of its items. Of an item, kRows rows of a column of an image, a
// thread reads what it needs at once, straight into registers; neighbours own neighbouring columns.
// One share is the result; of more, share_sum_kernel makes it. Coordinates and items below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_small_policy.h"

namespace kernelopt {

template <typename T, int kHeight, int kWidth, int kStride, int kRows>
__global__ void __launch_bounds__(DepthwiseSmallPolicy::kGradientThreads)
    depthwise_weight_gradient_small_kernel(
        const __grid_constant__ DepthwiseWeightGradientParams params,  // share_length: of items
        const T* __restrict__ grad_z,                                  // [N, filters, h, w]
        const T* __restrict__ input,  // [N, filters / multiplier, h, w]
        float* __restrict__ partial,  // [shares, filters, kHeight, kWidth], of several shares
        T* __restrict__ result,       // [filters, kHeight, kWidth], of a single one
        int strips) {
  constexpr int kTaps = kHeight * kWidth;
  constexpr int kInputRows = (kRows - 1) * kStride + kHeight;
  const int filters = static_cast<int>(params.filters);
  const int share = static_cast<int>(blockIdx.x) / filters;
  const int filter = static_cast<int>(blockIdx.x) - share * filters;
  const int multiplier = static_cast<int>(params.multiplier);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int grad_height = static_cast<int>(params.h.result_size);
  const int grad_width = static_cast<int>(params.w.result_size);
  const int begin = share * static_cast<int>(params.share_length);
  const int end = min(begin + static_cast<int>(params.share_length),
                      static_cast<int>(params.batch) * strips * grad_width);

  float sums[kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    sums[tap] = 0.0f;
  }
  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
#pragma unroll 1
  for (int item = begin + static_cast<int>(threadIdx.x); item < end;
       item += static_cast<int>(blockDim.x)) {
    const int line = static_cast<int>(static_cast<unsigned>(item) / grad_width);
    const int column = item - line * grad_width;
    const int n = static_cast<int>(static_cast<unsigned>(line) / strips);
    const int row = (line - n * strips) * kRows;
    const int first_y = row * kStride - static_cast<int>(params.h.padding);
    const int first_x = column * kStride - static_cast<int>(params.w.padding);
    const auto inside = [&](int i, int j) {
      const int y = first_y + i, x = first_x + j;
      return y >= 0 && y < height && x >= 0 && x < width;
    };
    const T* const grads =
        grad_z + ((int64_t{n} * filters + filter) * grad_height + row) * grad_width + column;
    const T* const image =
        input + int64_t{n * (filters / multiplier) + filter / multiplier} * height * width;
    float grad[kRows], values[kInputRows][kWidth];
    float zero = 0.0f;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      grad[r] = row + r < grad_height ? to_accumulate(grads[r * grad_width]) : 0.0f;
      zero += grad[r] * 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kInputRows; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const int offset = (first_y + i) * width + first_x + j;
        values[i][j] = inside(i, j) ? to_accumulate(image[offset]) : 0.0f;
        zero += values[i][j] * 0.0f;
      }
    }
    const auto add = [&](auto finite) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) {
          const int i = r * kStride + tap / kWidth, j = tap % kWidth;
          if (decltype(finite)::value || (row + r < grad_height && inside(i, j))) {
            sums[tap] += grad[r] * values[i][j];
          }
        }
      }
    };
    if (zero == 0.0f) {
      add(std::true_type{});
    } else {
      add(std::false_type{});  // the zeros that stand for nothing must not meet Inf or NaN
    }
  }

  // Lanes add up, then the warps, always in the same order.
  constexpr int kWarps = DepthwiseSmallPolicy::kGradientThreads / 32;
  __shared__ float totals[kTaps][kWarps];
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      sums[tap] += __shfl_down_sync(0xffffffffu, sums[tap], lanes);
    }
  }
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      totals[tap][threadIdx.x / 32] = sums[tap];
    }
  }
  __syncthreads();
  for (int tap = threadIdx.x; tap < kTaps; tap += blockDim.x) {
    float sum = totals[tap][0];
    for (int warp = 1; warp < static_cast<int>(blockDim.x) / 32; ++warp) {
      sum += totals[tap][warp];
    }
    if (params.shares == 1) {
      result[int64_t{filter} * kTaps + tap] = from_accumulate<T>(sum);
    } else {
      partial[(int64_t{share} * filters + filter) * kTaps + tap] = sum;
    }
  }
}

}  // namespace kernelopt
