// The sliding kernel's correlation (depthwise_sliding_kernel.cuh) for channels_last tensors with one
// filter a channel. A thread owns kVec channels of kColumns neighbouring columns and slides down a
// strip of rows: the source row it loads is added to every result row it is part of, and the next
// row is under way meanwhile. Neighbours in a warp own neighbouring channels, then columns, whose
// common source comes from the L1 cache. Needs channels divisible by kVec and addresses aligned to
// kVec elements; coordinates below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "depthwise/depthwise_channels_last_plan.h"
#include "depthwise/depthwise_params.h"

namespace kernelopt {

/// The taps of a thread's channels: in registers where they are few, else in shared memory.
template <typename T, int kVec, int kTaps, bool kInRegisters>
struct ChannelTaps {
  using Vector = Vec<T, kVec>;
  const Vector* shared;
  int pitch;
  float values[kInRegisters ? kTaps : 1][kVec];

  __device__ __forceinline__ void get(int tap, float (&to)[kVec]) const {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) {
        to[v] = values[tap][v];
      }
    } else {
      const Vector loaded = shared[tap * pitch];
#pragma unroll
      for (int v = 0; v < kVec; ++v) {
        to[v] = to_accumulate(loaded.values[v]);
      }
    }
  }
};

template <typename T, typename Shape>
__global__ void __launch_bounds__(DepthwiseChannelsLastPolicy::kThreads)
    depthwise_channels_last_sliding_kernel(
        const __grid_constant__ DepthwiseParams params,
        const __grid_constant__ ChannelsLastPlan plan,
        const T* __restrict__ source,  // [N, h, w, channels]
        const T* __restrict__ weight,  // [kHeight, kWidth, channels]
        const T* __restrict__ bias,    // [channels] or null
        T* __restrict__ result,        // [N, h, w, channels]
        Activation activation) {
  constexpr int kHeight = Shape::kKernelHeight, kWidth = Shape::kKernelWidth;
  constexpr int kStride = Shape::kStride, kColumns = Shape::kColumns, kVec = Shape::kVec;
  constexpr int kTaps = kHeight * kWidth;
  constexpr int kRows = (kHeight - 1) / kStride + 1;  // result rows that a source row is part of
  constexpr int kReach = (kColumns - 1) * kStride + kWidth;
  using Vector = Vec<T, kVec>;
  using Taps = ChannelTaps<T, kVec, kTaps, Shape::kTapsInRegisters>;
  extern __shared__ __align__(16) unsigned char shared[];

  const int channels = static_cast<int>(params.result_channels);
  const int item_block = static_cast<int>(blockIdx.x) / plan.channel_blocks;
  const int channel_block = static_cast<int>(blockIdx.x) - item_block * plan.channel_blocks;
  const int group = static_cast<int>(threadIdx.x) / plan.vectors;
  const int vector = static_cast<int>(threadIdx.x) - group * plan.vectors;
  const int channel = (channel_block * plan.vectors + vector) * kVec;
  const int64_t item = int64_t{item_block} * plan.groups + group;
  const bool active = channel < channels && group < plan.groups && item < plan.items;

  Taps taps;
  taps.pitch = plan.vectors;
  taps.shared = reinterpret_cast<const Vector*>(shared) + vector;
  const auto tap_vector = [&](int tap, int at) {
    const int position = params.flipped ? kTaps - 1 - tap : tap;
    return *reinterpret_cast<const Vector*>(weight + int64_t{position} * channels + at);
  };
  if constexpr (Shape::kTapsInRegisters) {
    if (active) {
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        const Vector loaded = tap_vector(tap, channel);
#pragma unroll
        for (int v = 0; v < kVec; ++v) {
          taps.values[tap][v] = to_accumulate(loaded.values[v]);
        }
      }
    }
  } else {
    for (int i = threadIdx.x; i < kTaps * plan.vectors; i += blockDim.x) {
      const int tap = i / plan.vectors;
      const int at = (channel_block * plan.vectors + i - tap * plan.vectors) * kVec;
      if (at < channels) {
        reinterpret_cast<Vector*>(shared)[i] = tap_vector(tap, at);
      }
    }
    __syncthreads();
  }
  if (!active) {
    return;
  }

  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int result_height = static_cast<int>(params.h.result_size);
  const int result_width = static_cast<int>(params.w.result_size);
  const int64_t line = item / plan.column_groups;
  const int column = static_cast<int>(item - line * plan.column_groups) * kColumns;
  const int64_t n = line / plan.strips;
  const int row = static_cast<int>(line - n * plan.strips) * plan.rows;
  const int rows = min(plan.rows, result_height - row);
  const int x = column * kStride - static_cast<int>(params.w.padding);
  int y = row * kStride - static_cast<int>(params.h.padding);
  const int64_t source_pitch = int64_t{width} * channels;
  const int64_t result_pitch = int64_t{result_width} * channels;
  const T* from = source + ((n * height + y) * width + x) * channels + channel;
  T* to = result + ((n * result_height + row) * result_width + column) * channels + channel;

  const auto row_inside = [&] { return y >= 0 && y < height; };
  Vector next[kReach];
  const auto load = [&] {
#pragma unroll
    for (int i = 0; i < kReach; ++i) {
      if (row_inside() && x + i >= 0 && x + i < width) {
        next[i] = *reinterpret_cast<const Vector*>(from + int64_t{i} * channels);
      } else {
        next[i] = Vector{};
      }
    }
  };

  float start[kVec];
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    start[v] = bias == nullptr ? 0.0f : to_accumulate(bias[channel + v]);
  }
  float sums[kRows][kColumns][kVec] = {};
  load();
  for (int step = 1 - kRows; step < rows; ++step) {
    const auto slide = [&](auto phase) {
      constexpr int kPhase = decltype(phase)::value;
      if constexpr (kPhase == 0) {
#pragma unroll
        for (int r = kRows - 1; r >= 0; --r) {
#pragma unroll
          for (int c = 0; c < kColumns; ++c) {
#pragma unroll
            for (int v = 0; v < kVec; ++v) {
              sums[r][c][v] = r == 0 ? start[v] : sums[r - 1][c][v];
            }
          }
        }
      }
      float values[kReach][kVec];
#pragma unroll
      for (int i = 0; i < kReach; ++i) {
#pragma unroll
        for (int v = 0; v < kVec; ++v) {
          values[i][v] = to_accumulate(next[i].values[v]);
        }
      }
      const bool inside = row_inside();
      ++y;
      from += source_pitch;
      load();
      if (inside) {
#pragma unroll
        for (int r = kRows - 1; r >= 0; --r) {
          const int tap_row = r * kStride + kPhase;
          if (tap_row < kHeight) {
#pragma unroll
            for (int j = 0; j < kWidth; ++j) {
              float tap[kVec];
              taps.get(tap_row * kWidth + j, tap);
#pragma unroll
              for (int c = 0; c < kColumns; ++c) {
#pragma unroll
                for (int v = 0; v < kVec; ++v) {
                  sums[r][c][v] += tap[v] * values[c * kStride + j][v];
                }
              }
            }
          }
        }
      }
    };
    slide(std::integral_constant<int, 0>{});
    if constexpr (kStride == 2) {
      slide(std::integral_constant<int, 1>{});
    }
    if (step >= 0) {
      with_activation(activation, [&](auto kind) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          Vector values;
#pragma unroll
          for (int v = 0; v < kVec; ++v) {
            values.values[v] = from_accumulate<T>(decltype(kind)::forward(sums[kRows - 1][c][v]));
          }
          if (column + c < result_width) {
            *reinterpret_cast<Vector*>(to + int64_t{c} * channels) = values;
          }
        }
      });
      to += result_pitch;
    }
  }
}

}  // namespace kernelopt
