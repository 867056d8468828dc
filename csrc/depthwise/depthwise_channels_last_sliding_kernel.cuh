// The sliding kernel's correlation (depthwise_sliding_kernel.cuh) for channels_last tensors with
// one filter a channel. A block copies the source of its channels, rows and columns to shared
// memory, zeros where it reaches outside the image, so that all of it is under way at once. A
// thread owns kVec channels of kColumns neighbouring columns of some rows and slides down: the
// source row it reads is added to every result row it is part of. Neighbours in a warp own
// neighbouring channels, then columns. Needs pixels of whole 16-byte units, aligned to them;
// coordinates below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "common/mma.cuh"
#include "common/padded_sum.cuh"
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

  __device__ __forceinline__ bool finite() const {
    float zero = 0.0f;
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      float one[kVec];
      get(tap, one);
#pragma unroll
      for (int v = 0; v < kVec; ++v) {
        zero += one[v] * 0.0f;
      }
    }
    return zero == 0.0f;
  }

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

/// Starts copying 16 bytes to shared memory, zeros where not `valid`.
__device__ __forceinline__ void copy_unit(unsigned char* to, const void* from, bool valid) {
#if KERNELOPT_HAS_MMA
  copy_async<16>(shared_address(to), from, valid);
#else
  *reinterpret_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#endif
}

template <typename T, typename Shape>
__global__ void __launch_bounds__(DepthwiseChannelsLastPolicy::kThreads)
    depthwise_channels_last_sliding_kernel(
        const __grid_constant__ DepthwiseParams params,
        const __grid_constant__ ChannelsLastPlan plan,
        const T* __restrict__ source,  // [N, h, w, channels]
        const T* __restrict__ weight,  // [channels, kHeight, kWidth] where kTapsInRegisters,
                                       // else [kHeight, kWidth, channels]
        const T* __restrict__ bias,    // [channels] or null
        T* __restrict__ result,        // [N, h, w, channels]
        Activation activation) {
  constexpr int kHeight = Shape::kKernelHeight, kWidth = Shape::kKernelWidth;
  constexpr int kStride = Shape::kStride, kColumns = Shape::kColumns, kVec = Shape::kVec;
  constexpr int kTaps = kHeight * kWidth;
  constexpr int kRows = (kHeight - 1) / kStride + 1;  // result rows that a source row is part of
  constexpr int kReach = (kColumns - 1) * kStride + kWidth;
  constexpr int kUnit = 16 / sizeof(T);
  using Vector = Vec<T, kVec>;
  using Taps = ChannelTaps<T, kVec, kTaps, Shape::kTapsInRegisters>;
  extern __shared__ __align__(16) unsigned char shared[];

  // Block = ((n * strips + strip) * tiles + tile) * channel_blocks + channel block.
  int rest = static_cast<int>(blockIdx.x) / plan.channel_blocks;
  const int block_channel =
      (static_cast<int>(blockIdx.x) - rest * plan.channel_blocks) * plan.vectors * kVec;
  const int line = rest / plan.tiles;
  const int block_column = (rest - line * plan.tiles) * plan.column_groups * kColumns;
  const int n = line / plan.strips;
  const int block_row = (line - n * plan.strips) * plan.rows;
  const int channels = static_cast<int>(params.result_channels);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int result_height = static_cast<int>(params.h.result_size);
  const int result_width = static_cast<int>(params.w.result_size);
  const int block_rows = min(plan.rows, result_height - block_row);
  const int first_y = block_row * kStride - static_cast<int>(params.h.padding);
  const int first_x = block_column * kStride - static_cast<int>(params.w.padding);
  const int source_rows = (block_rows - 1) * kStride + kHeight;
  const int pixel_bytes = plan.vectors * kVec * static_cast<int>(sizeof(T));
  const int thread = static_cast<int>(threadIdx.x);

  grid_dependency_wait();
  {
    // Each thread copies the same unit of every so manieth pixel.
    const int units = pixel_bytes / 16;
    const int pixels = static_cast<int>(blockDim.x) / units;
    int x = thread / units, y = 0;
    const int channel = block_channel + (thread - x * units) * kUnit;
    unsigned char* to = shared + thread * 16;
    const T* const image = source + int64_t{n} * height * width * channels + channel;
    if (x < pixels) {
      while (true) {
        while (x >= plan.source_columns) {
          x -= plan.source_columns;
          ++y;
        }
        if (y >= source_rows) {
          break;
        }
        const int source_y = first_y + y, source_x = first_x + x;
        const bool valid = source_y >= 0 && source_y < height && source_x >= 0 &&
                           source_x < width && channel < channels;
        const T* from = valid ? image + (source_y * width + source_x) * int64_t{channels} : source;
        copy_unit(to, from, valid);
        to += pixels * pixel_bytes;
        x += pixels;
      }
    }
  }

  const int place = thread / plan.vectors;
  const int vector = thread - place * plan.vectors;
  const int row_group = place / plan.column_groups;
  const int column = (place - row_group * plan.column_groups) * kColumns;
  const int row = row_group * plan.rows_per_thread;
  const int rows = min(plan.rows_per_thread, block_rows - row);
  const int channel = block_channel + vector * kVec;
  const int columns = result_width - block_column - column;
  const bool active = rows > 0 && columns > 0 && channel < channels;

  Taps taps;
  taps.pitch = plan.vectors;
  taps.shared = reinterpret_cast<const Vector*>(shared + plan.taps_offset) + vector;
  if constexpr (Shape::kTapsInRegisters) {
    if (active) {
      // The filters of a thread's channels are one piece of memory of kTaps vectors.
      const Vector* const filters =
          reinterpret_cast<const Vector*>(weight + int64_t{channel} * kTaps);
      T loaded[kTaps * kVec];
#pragma unroll
      for (int i = 0; i < kTaps; ++i) {
        const Vector piece = filters[i];
#pragma unroll
        for (int v = 0; v < kVec; ++v) {
          loaded[i * kVec + v] = piece.values[v];
        }
      }
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
#pragma unroll
        for (int v = 0; v < kVec; ++v) {
          const T value =
              params.flipped ? loaded[v * kTaps + kTaps - 1 - tap] : loaded[v * kTaps + tap];
          taps.values[tap][v] = to_accumulate(value);
        }
      }
    }
  } else {
    Vector* const to = reinterpret_cast<Vector*>(shared + plan.taps_offset);
    for (int i = thread; i < kTaps * plan.vectors; i += blockDim.x) {
      const int tap = i / plan.vectors;
      const int at = block_channel + (i - tap * plan.vectors) * kVec;
      if (at < channels) {
        const int position = params.flipped ? kTaps - 1 - tap : tap;
        to[i] = *reinterpret_cast<const Vector*>(weight + int64_t{position} * channels + at);
      }
    }
  }
  float start[kVec];
#pragma unroll
  for (int v = 0; v < kVec; ++v) {
    start[v] = bias == nullptr || !active ? 0.0f : to_accumulate(bias[channel + v]);
  }
#if KERNELOPT_HAS_MMA
  copy_async_commit();
  copy_async_wait<0>();
#endif
  __syncthreads();
  if (!active) {
    return;
  }

  const int row_pitch = plan.source_columns * pixel_bytes;
  const unsigned char* from =
      shared + row * kStride * row_pitch + column * kStride * pixel_bytes + vector * sizeof(Vector);
  int y = first_y + row * kStride;
  const int end_y = min(height, first_y + source_rows);
  T* to = result +
          ((int64_t{n} * result_height + block_row + row) * result_width + block_column + column) *
              channels +
          channel;
  const int64_t result_pitch = int64_t{result_width} * channels;
  const bool activates = activation != Activation::kNone;
  const int x = first_x + column * kStride;
  if ((x < 0 || x + kReach > width) && !taps.finite()) {
    const int64_t filter_pitch = Shape::kTapsInRegisters ? kTaps : 1;
    const int64_t tap_pitch = Shape::kTapsInRegisters ? 1 : channels;
    const int64_t step = params.flipped ? -tap_pitch : tap_pitch;
    PaddedTaps<T> padded{nullptr, step * kWidth, step};
    for (int i = 0; i < rows * min(columns, kColumns) * kVec; ++i) {
      const int v = i % kVec, r = i / kVec % rows, c = i / kVec / rows;
      padded.taps =
          weight + (channel + v) * filter_pitch + (params.flipped ? (kTaps - 1) * tap_pitch : 0);
      padded.limit(y + r * kStride, height, kHeight, 1, padded.row_begin, padded.row_end);
      padded.limit(x + c * kStride, width, kWidth, 1, padded.column_begin, padded.column_end);
      const float sum =
          padded.sum(bias == nullptr ? 0.0f : to_accumulate(bias[channel + v]),
                     from + (r * row_pitch + c * pixel_bytes) * kStride + v * sizeof(T), row_pitch,
                     pixel_bytes);
      to[r * result_pitch + int64_t{c} * channels + v] =
          from_accumulate<T>(apply_activation(activation, sum));
    }
    return;
  }
  float sums[kRows][kColumns][kVec] = {};
  for (int step = 0; step < rows + kRows - 1; ++step) {
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
      if (y >= 0 && y < end_y) {
        float values[kReach][kVec];
#pragma unroll
        for (int i = 0; i < kReach; ++i) {
          const Vector loaded = *reinterpret_cast<const Vector*>(from + i * pixel_bytes);
#pragma unroll
          for (int v = 0; v < kVec; ++v) {
            values[i][v] = to_accumulate(loaded.values[v]);
          }
        }
#pragma unroll
        for (int r = kRows - 1; r >= 0; --r) {
          const int tap_row = r * kStride + kPhase;
          // What is added to rows that the thread does not own is left out where that is much.
          if (tap_row < kHeight && (kRows < 4 || (step >= r && step - r < rows))) {
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
      ++y;
      from += row_pitch;
    };
    slide(std::integral_constant<int, 0>{});
    if constexpr (kStride == 2) {
      slide(std::integral_constant<int, 1>{});
    }
    if (step >= kRows - 1) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        if (activates) {
          asm volatile("");  // keeps the test a branch of its own
          with_activation(activation, [&](auto kind) {
#pragma unroll
            for (int v = 0; v < kVec; ++v) {
              sums[kRows - 1][c][v] = decltype(kind)::forward(sums[kRows - 1][c][v]);
            }
          });
        }
        Vector values;
#pragma unroll
        for (int v = 0; v < kVec; ++v) {
          values.values[v] = from_accumulate<T>(sums[kRows - 1][c][v]);
        }
        if (c < columns) {
          *reinterpret_cast<Vector*>(to + int64_t{c} * channels) = values;
        }
      }
      to += result_pitch;
    }
  }
  grid_dependency_launch();
}

}  // namespace kernelopt
