// The sliding kernel's correlation (depthwise_sliding_kernel.cuh) for tensors so small that latency
// is their time, and for dilated kernels: a thread reads what its kRows results of kColumns columns
// need at once, straight into registers, and stores them straight to memory. Its rows are a
// dilation apart, neighbours own neighbouring columns. Coordinates and items below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"
#include "elementwise/fast_iteration.h"

namespace kernelopt {

/// From an item to its place: item = (plane * strips + strip) * column_groups + column group.
struct DepthwiseSmallItems {
  unsigned items;
  FastDivisor column_groups;
  FastDivisor strips;
  FastDivisor channels;  // of the result
  FastDivisor multiplier;
};

/// @tparam kColumns  of a thread; more than one are vectors: rows of the source begin on as many
///                   elements, those of the result too where they are whole vectors, the padding is
///                   half the width
/// @tparam kDilated  false where the dilation is 1
template <typename T, int kHeight, int kWidth, int kStride, int kRows, int kColumns, bool kDilated>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_small_kernel(const __grid_constant__ DepthwiseParams params,
                           const T* __restrict__ source,  // [N, source_channels, h, w]
                           const T* __restrict__ weight,  // [result_channels, kHeight, kWidth]
                           const T* __restrict__ bias,    // [result_channels] or null
                           T* __restrict__ result,        // [N, result_channels, h, w]
                           Activation activation,
                           const __grid_constant__ DepthwiseSmallItems items) {
  static_assert(kStride == 1 || !kDilated, "rows a dilation apart share no source rows");
  static_assert(kColumns == 1 || !kDilated, "columns a dilation apart are no vectors");
  constexpr int kSourceRows = (kRows - 1) * kStride + kHeight;
  constexpr int kSourceColumns = (kColumns - 1) * kStride + kWidth;
  constexpr int kTaps = kHeight * kWidth;
  const unsigned item = blockIdx.x * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items.items) {
    return;
  }
  const int dilation_h = kDilated ? static_cast<int>(params.h.dilation) : 1;
  const int dilation_w = kDilated ? static_cast<int>(params.w.dilation) : 1;
  const unsigned rest = items.column_groups.quotient(item);
  const int column = static_cast<int>(item - rest * items.column_groups.divisor) * kColumns;
  const unsigned plane = items.strips.quotient(rest);
  const int strip = static_cast<int>(rest - plane * items.strips.divisor);
  const int unit = kDilated ? strip / dilation_h : strip;
  const int row = unit * dilation_h * kRows + (strip - unit * dilation_h);
  const unsigned n = items.channels.quotient(plane);
  const unsigned channel = plane - n * items.channels.divisor;
  const unsigned source_channel = items.multiplier.quotient(channel);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int result_width = static_cast<int>(params.w.result_size);
  const int result_height = static_cast<int>(params.h.result_size);
  const int first_y = row * kStride - static_cast<int>(params.h.padding);
  const int first_x = column * kStride - static_cast<int>(params.w.padding);
  const auto inside = [&](int i, int j) {
    const int y = first_y + i * dilation_h, x = first_x + j * dilation_w;
    return y >= 0 && y < height && x >= 0 && x < width;
  };

  const T* const image =
      source + (int64_t{n} * params.source_channels + source_channel) * height * width;
  const T* const filter = weight + int64_t{channel} * kTaps;
  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  T values[kSourceRows][kSourceColumns];
  // Columns of vectors; those beside them are read one by one.
  constexpr int kLeft = (kWidth - 1) / 2;
  constexpr int kEnd = kLeft + kColumns * kStride;
  constexpr int kRight = kColumns == 1 ? 0 : kEnd < kSourceColumns ? kEnd : kSourceColumns;
#pragma unroll
  for (int i = 0; i < kSourceRows; ++i) {
    const int line = (first_y + i * dilation_h) * width + first_x;
    if constexpr (kColumns > 1) {
#pragma unroll
      for (int v = 0; v < kStride; ++v) {
        Vec<T, kColumns> vector = {};
        if (inside(i, kLeft + v * kColumns)) {
          vector = *reinterpret_cast<const Vec<T, kColumns>*>(image + line + kLeft + v * kColumns);
        }
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          if (kLeft + v * kColumns + j < kRight) {
            values[i][kLeft + v * kColumns + j] = vector.values[j];
          }
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kSourceColumns; ++j) {
      if (kColumns == 1 || j < kLeft || j >= kRight) {
        values[i][j] = inside(i, j) ? image[line + j * dilation_w] : from_accumulate<T>(0.0f);
      }
    }
  }
  float taps[kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    taps[tap] = to_accumulate(filter[params.flipped ? kTaps - 1 - tap : tap]);
  }
  const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
  float zero = 0.0f;
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    zero += taps[tap] * 0.0f;
  }
  const bool finite = zero == 0.0f;
  T* const to = result + (int64_t{plane} * result_height + row) * result_width + column;
  const bool whole = result_width % kColumns == 0;  // vectors; always at stride 1
  float sums[kRows][kColumns];
#pragma unroll
  for (int o = 0; o < kRows; ++o) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      float sum = start;
      if (finite) {
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) {
          const int i = o * kStride + tap / kWidth, j = c * kStride + tap % kWidth;
          sum += taps[tap] * to_accumulate(values[i][j]);
        }
      } else {
        // The zeros outside the image must not meet these taps.
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) {
          const int i = o * kStride + tap / kWidth, j = c * kStride + tap % kWidth;
          sum += inside(i, j) ? taps[tap] * to_accumulate(values[i][j]) : 0.0f;
        }
      }
      sums[o][c] = sum;
    }
  }
  with_activation(activation, [&](auto kind) {
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      Vec<T, kColumns> results;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        results.values[c] = from_accumulate<T>(decltype(kind)::forward(sums[o][c]));
      }
      T* const row_to = to + int64_t{o} * dilation_h * result_width;
      if (row + o * dilation_h < result_height) {
        if (kStride == 1 || kColumns == 1 || whole) {
          *reinterpret_cast<Vec<T, kColumns>*>(row_to) = results;
        } else {
#pragma unroll
          for (int c = 0; c < kColumns; ++c) {
            if (column + c < result_width) {
              row_to[c] = results.values[c];
            }
          }
        }
      }
    }
  });
}

}  // namespace kernelopt
