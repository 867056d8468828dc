// The sliding kernel's correlation (depthwise_sliding_kernel.cuh) for tensors so small that latency
// is their time, and for dilated kernels: a thread reads what its kRows results of kColumns columns
// need at once, straight into registers, and stores them straight to memory. Its rows are a
// dilation apart, neighbours own neighbouring columns. Coordinates and items below 2^30. What a
// thread does beside its products is what it takes: see SmallPlaces.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"
#include "elementwise/fast_iteration.h"

#include <type_traits>

namespace kernelopt {

/// From an item to its place: item = (plane * strips + strip) * column_groups + column group.
struct DepthwiseSmallItems {
  unsigned items;
  FastDivisor column_groups;
  FastDivisor strips;
  FastDivisor channels;  // of the result
  FastDivisor multiplier;
};

/// Where threads' results lie. kEven: the last thread of a column or a row owns as many results as
/// others, so shares some with its neighbour, and writes the same; and the padding is half a kernel
/// at most. Then only the border of a window may lie outside the image, and no store needs a test.
enum class SmallPlaces { kAny, kEven, kDilated };

/// @tparam kRows, kColumns  of a thread
/// @tparam kVec  elements of a load. Where they are more than one, rows of the source begin on as
///               many, the padding is half the width, and where kColumns are as many and rows of
///               the result whole vectors, those begin on as many too
template <typename T, int kHeight, int kWidth, int kStride, int kRows, int kColumns, int kVec,
          SmallPlaces kPlaces>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_small_kernel(const __grid_constant__ DepthwiseParams params,
                           const T* __restrict__ source,  // [N, source_channels, h, w]
                           const T* __restrict__ weight,  // [result_channels, kHeight, kWidth]
                           const T* __restrict__ bias,    // [result_channels] or null
                           T* __restrict__ result,        // [N, result_channels, h, w]
                           Activation activation,
                           const __grid_constant__ DepthwiseSmallItems items) {
  constexpr bool kDilated = kPlaces == SmallPlaces::kDilated;
  constexpr bool kEven = kPlaces == SmallPlaces::kEven;
  static_assert(kStride == 1 || !kDilated, "rows a dilation apart share no source rows");
  static_assert(kVec == 1 || !kDilated, "columns a dilation apart are no vectors");
  static_assert(kColumns * kStride % kVec == 0);
  constexpr int kSourceRows = (kRows - 1) * kStride + kHeight;
  constexpr int kSourceColumns = (kColumns - 1) * kStride + kWidth;
  constexpr int kTaps = kHeight * kWidth;
  const unsigned item = blockIdx.x * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items.items) {
    return;
  }
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int result_width = static_cast<int>(params.w.result_size);
  const int result_height = static_cast<int>(params.h.result_size);
  const int dilation_h = kDilated ? static_cast<int>(params.h.dilation) : 1;
  const int dilation_w = kDilated ? static_cast<int>(params.w.dilation) : 1;
  const unsigned rest = items.column_groups.quotient(item);
  int column = static_cast<int>(item - rest * items.column_groups.divisor) * kColumns;
  const unsigned plane = items.strips.quotient(rest);
  const int strip = static_cast<int>(rest - plane * items.strips.divisor);
  const int unit = kDilated ? strip / dilation_h : strip;
  int row = unit * dilation_h * kRows + (strip - unit * dilation_h);
  if constexpr (kEven) {
    row = min(row, result_height - kRows);
    column = min(column, result_width - kColumns);
  }
  const unsigned n = items.channels.quotient(plane);
  const unsigned channel = plane - n * items.channels.divisor;
  const unsigned source_plane =
      n * static_cast<unsigned>(params.source_channels) + items.multiplier.quotient(channel);
  const int first_y = row * kStride - static_cast<int>(params.h.padding);
  const int first_x = column * kStride - static_cast<int>(params.w.padding);
  const auto inside = [&](int i, int j) {
    constexpr int kTop = kEven ? (kHeight - 1) / 2 : kSourceRows;
    constexpr int kLeft = kEven ? (kWidth - 1) / 2 : kSourceColumns;
    const int y = first_y + i * dilation_h, x = first_x + j * dilation_w;
    return (i >= kTop || y >= 0) && (i < kSourceRows - kTop || y < height) &&
           (j >= kLeft || x >= 0) && (j < kSourceColumns - kLeft || x < width);
  };

  const T* line = source + (int64_t{source_plane} * height + first_y) * width + first_x;
  const T* const filter = weight + int64_t{channel} * kTaps;
  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  T values[kSourceRows][kSourceColumns];
  // Columns of vectors; those beside them are read one by one.
  constexpr int kLeft = (kWidth - 1) / 2;
  constexpr int kEnd = kLeft + kColumns * kStride;
  constexpr int kRight = kVec == 1 ? 0 : kEnd < kSourceColumns ? kEnd : kSourceColumns;
#pragma unroll
  for (int i = 0; i < kSourceRows; ++i, line += dilation_h * width) {
    if constexpr (kVec > 1) {
#pragma unroll
      for (int first = kLeft; first < kEnd; first += kVec) {
        Vec<T, kVec> vector = {};
        if (inside(i, first)) {
          vector = *reinterpret_cast<const Vec<T, kVec>*>(line + first);
        }
#pragma unroll
        for (int j = 0; j < kVec; ++j) {
          if (first + j < kRight) {
            values[i][first + j] = vector.values[j];
          }
        }
      }
    }
#pragma unroll
    for (int j = 0; j < kSourceColumns; ++j) {
      if (kVec == 1 || j < kLeft || j >= kRight) {
        values[i][j] = inside(i, j) ? line[j * dilation_w] : from_accumulate<T>(0.0f);
      }
    }
  }
  // In both orders from the same places: addresses of either order cost 60 instructions.
  T forward[kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    forward[tap] = filter[tap];
  }
  float taps[kTaps];
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    taps[tap] = to_accumulate(params.flipped ? forward[kTaps - 1 - tap] : forward[tap]);
  }
  const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
  float zero = 0.0f;
#pragma unroll
  for (int tap = 0; tap < kTaps; ++tap) {
    zero += taps[tap] * 0.0f;
  }
  float sums[kRows][kColumns];
  const auto add = [&](auto finite) {
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        float sum = start;
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) {
          const int i = o * kStride + tap / kWidth, j = c * kStride + tap % kWidth;
          if (decltype(finite)::value || inside(i, j)) {
            sum += taps[tap] * to_accumulate(values[i][j]);
          }
        }
        sums[o][c] = sum;
      }
    }
  };
  if (__builtin_expect(zero == 0.0f, true)) {
    add(std::true_type{});
  } else {
    add(std::false_type{});  // the zeros outside the image must not meet these taps
  }
  constexpr bool kVectors = kVec == kColumns;
  const bool whole = result_width % kColumns == 0;  // always at stride 1
  with_activation(activation, [&](auto kind) {
    T* to = result + (int64_t{plane} * result_height + row) * result_width + column;
#pragma unroll
    for (int o = 0; o < kRows; ++o, to += dilation_h * result_width) {
      Vec<T, kColumns> results;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        results.values[c] = from_accumulate<T>(decltype(kind)::forward(sums[o][c]));
      }
      if (kEven || row + o * dilation_h < result_height) {
        if (kVectors && (kStride == 1 || kColumns == 1 || whole)) {
          *reinterpret_cast<Vec<T, kColumns>*>(to) = results;
        } else {
#pragma unroll
          for (int c = 0; c < kColumns; ++c) {
            if (kEven || column + c < result_width) {
              to[c] = results.values[c];
            }
          }
        }
      }
    }
  });
}

}  // namespace kernelopt
