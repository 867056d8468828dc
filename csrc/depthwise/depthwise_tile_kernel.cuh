// A depthwise correlation of contiguous tensors with any kernel size and dilation, stride 1 along
// the height:
//   result[n, r, y, x] = act(bias[r] + sum over f, i, j of weight[f, i, j] * source[n, f /
//   multiplier, y - pad_h + i * dil_h, x * stride_w - pad_w + j * dil_w])
// A block owns a tile of a plane (see TilePlan): its source, zeros outside the image included, and
// the filter are in shared memory, as fp32. A thread owns kRows rows of a column, a dilation apart:
// down a column of the kernel a window of kRows source values slides along, one load a tap. Taps
// that meet only rows outside the image are left out. Coordinates below 2^30.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "depthwise/depthwise_tile_plan.h"

namespace kernelopt {

/// Adds to the sums of kRows results, row_pitch apart in `window`, the products with `count` taps
/// of a kernel column.
template <int kRows>
__device__ __forceinline__ void add_kernel_column(float (&sums)[kRows], const float* taps,
                                                  const float* window, int count, int row_pitch) {
  float values[kRows - 1 + kTapVector];
#pragma unroll
  for (int o = 0; o < kRows - 1; ++o) {
    values[o] = *window;
    window += row_pitch;
  }
  int i = 0;
  for (; i + kTapVector <= count; i += kTapVector) {
    const float4 vector = *reinterpret_cast<const float4*>(taps + i);
    const float tap[kTapVector] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
    for (int u = 0; u < kTapVector; ++u) {
      values[kRows - 1 + u] = *window;
      window += row_pitch;
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        sums[o] += tap[u] * values[u + o];
      }
    }
#pragma unroll
    for (int o = 0; o < kRows - 1; ++o) {
      values[o] = values[o + kTapVector];
    }
  }
#pragma unroll
  for (int u = 0; u < kTapVector - 1; ++u) {
    if (i + u < count) {
      const float tap = taps[i + u];
      values[kRows - 1 + u] = *window;
      window += row_pitch;
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        sums[o] += tap * values[u + o];
      }
    }
  }
}

/// Copies a tile's source from row and column (first_y, first_x) of an image on, zeros outside of
/// it. A warp has some rows at a time, so that their loads are under way together.
template <typename T>
__device__ __forceinline__ void load_window(float* window, const TilePlan& plan, const T* image,
                                            int first_y, int first_x, int height, int width) {
  constexpr int kLanes = 32, kRowsAtOnce = 4;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int step = static_cast<int>(blockDim.x) / kLanes * kRowsAtOnce;
  for (int row = warp * kRowsAtOnce; row < plan.source_rows; row += step) {
    const T* const from = image + int64_t{first_y + row} * width;
#pragma unroll 2
    for (int column = lane; column < plan.source_columns; column += kLanes) {
      const int x = first_x + column;
      const bool x_inside = x >= 0 && x < width;
      float values[kRowsAtOnce];
#pragma unroll
      for (int u = 0; u < kRowsAtOnce; ++u) {
        const int y = first_y + row + u;
        values[u] = x_inside && y >= 0 && y < height ? to_accumulate(from[u * width + x]) : 0.0f;
      }
#pragma unroll
      for (int u = 0; u < kRowsAtOnce; ++u) {
        if (row + u < plan.source_rows) {
          window[(row + u) * plan.source_pitch + column] = values[u];
        }
      }
    }
  }
}

/// Copies a filter, a column of the kernel after the other.
/// @return whether the taps that this thread copied are finite
template <typename T>
__device__ __forceinline__ bool load_taps(float* taps, const TilePlan& plan, const T* filter,
                                          int kernel_height, int kernel_width, bool flipped) {
  constexpr int kAtOnce = 4;  // loads under way together
  const int count = kernel_height * kernel_width;
  const int step = static_cast<int>(blockDim.x);
  bool finite = true;
  for (int first = threadIdx.x; first < count; first += kAtOnce * step) {
    float values[kAtOnce];
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int i = first + u * step;
      values[u] = i < count ? to_accumulate(filter[flipped ? count - 1 - i : i]) : 0.0f;
    }
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int i = first + u * step;
      if (i < count) {
        const int row = i / kernel_width;
        taps[(i - row * kernel_width) * plan.tap_pitch + row] = values[u];
        finite = finite && values[u] - values[u] == 0.0f;
      }
    }
  }
  return finite;
}

template <typename T, int kRows>
__global__ void __launch_bounds__(DepthwiseTilePolicy::kMaxThreads)
    depthwise_tile_kernel(const __grid_constant__ DepthwiseParams params,
                          const __grid_constant__ TilePlan plan,
                          const T* __restrict__ source,  // [N, source_channels, h, w]
                          const T* __restrict__ weight,  // [filters, KH, KW]
                          const T* __restrict__ bias,    // [result_channels] or null
                          T* __restrict__ result,        // [N, result_channels, h, w]
                          Activation activation) {
  extern __shared__ __align__(16) float shared_floats[];
  const int kernel_height = static_cast<int>(params.h.kernel_size);
  const int kernel_width = static_cast<int>(params.w.kernel_size);
  float* const taps = shared_floats;                           // [KW][tap_pitch]
  float* const window = taps + plan.tap_pitch * kernel_width;  // [source_rows][source_pitch]

  const int dilation_h = static_cast<int>(params.h.dilation);
  const int dilation_w = static_cast<int>(params.w.dilation);
  const int stride_w = static_cast<int>(params.w.stride);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int result_height = static_cast<int>(params.h.result_size);
  const int result_width = static_cast<int>(params.w.result_size);
  const int thread = static_cast<int>(threadIdx.x);

  // Block = (plane * strips + strip) * tiles + tile.
  const unsigned line = blockIdx.x / static_cast<unsigned>(plan.tiles);
  const int tile = static_cast<int>(blockIdx.x - line * plan.tiles);
  const unsigned plane = line / static_cast<unsigned>(plan.strips);
  const int strip = static_cast<int>(line - plane * plan.strips);
  const unsigned n = plane / static_cast<unsigned>(params.result_channels);
  const int channel = static_cast<int>(plane - n * static_cast<unsigned>(params.result_channels));
  const int block_row = strip * plan.units * dilation_h * kRows;
  const int block_column = tile * plan.columns;
  const int first_y = block_row - static_cast<int>(params.h.padding);
  const int first_x = block_column * stride_w - static_cast<int>(params.w.padding);

  // Row and column of the thread's first result in the tile.
  const int place = thread / plan.columns;
  const int column = thread - place * plan.columns;
  const int unit = place / dilation_h;
  const int row = unit * dilation_h * kRows + place - unit * dilation_h;
  const bool active = unit < plan.units && block_column + column < result_width;
  // The taps that meet rows of the image, from a whole vector on.
  const int y = first_y + row;
  const int above = -(y + (kRows - 1) * dilation_h);
  const int first_tap =
      above > 0 ? min((above + dilation_h - 1) / dilation_h, kernel_height) & -kTapVector : 0;
  const int end_tap =
      y < height ? min((height - y + dilation_h - 1) / dilation_h, kernel_height) : 0;
  const int row_pitch = dilation_h * plan.source_pitch;
  const float* const from = window + row * plan.source_pitch + column * stride_w;

  // The same columns, where a thread meets the image with few of them.
  const int x = first_x + column * stride_w;
  int first_column = 0, end_column = kernel_width;
  if (plan.few_columns) {
    first_column = x < 0 ? min((dilation_w - 1 - x) / dilation_w, kernel_width) : 0;
    end_column = x < width ? min((width - x + dilation_w - 1) / dilation_w, kernel_width) : 0;
  }

  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  float sums[kRows];
  const float start = bias == nullptr ? 0.0f : to_accumulate(bias[channel]);
#pragma unroll
  for (int o = 0; o < kRows; ++o) {
    sums[o] = start;
  }
  const int filters = static_cast<int>(params.filters);
  for (int f = 0; f < filters; ++f) {
    if (f > 0) {
      __syncthreads();
    }
    const int filter = channel * filters + f;
    const int source_channel = filter / static_cast<int>(params.multiplier);
    const T* const image =
        source + (int64_t{n} * params.source_channels + source_channel) * height * width;
    load_window(window, plan, image, first_y, first_x, height, width);
    const T* const filter_taps = weight + int64_t{filter} * kernel_height * kernel_width;
    const bool finite =
        load_taps(taps, plan, filter_taps, kernel_height, kernel_width, params.flipped);
    if (__syncthreads_and(finite)) {
      if (active) {
        for (int j = first_column; j < end_column; ++j) {
          add_kernel_column(sums, taps + j * plan.tap_pitch + first_tap,
                            from + j * dilation_w + first_tap * row_pitch, end_tap - first_tap,
                            row_pitch);
        }
      }
    } else if (active) {
      // The window's zeros outside the image must not meet these taps.
      for (int j = 0; j < kernel_width; ++j) {
        const int tap_x = x + j * dilation_w;
        for (int i = first_tap; tap_x >= 0 && tap_x < width && i < end_tap; ++i) {
          const float tap = taps[j * plan.tap_pitch + i];
#pragma unroll
          for (int o = 0; o < kRows; ++o) {
            const int source_y = y + (i + o) * dilation_h;
            if (source_y >= 0 && source_y < height) {
              sums[o] += tap * from[(i + o) * row_pitch + j * dilation_w];
            }
          }
        }
      }
    }
  }
  if (!active) {
    return;
  }
  T* const to = result + (int64_t{plane} * result_height + block_row + row) * result_width +
                block_column + column;
#pragma unroll
  for (int o = 0; o < kRows; ++o) {
    if (block_row + row + o * dilation_h < result_height) {
      to[int64_t{o} * dilation_h * result_width] =
          from_accumulate<T>(apply_activation(activation, sums[o]));
    }
  }
}

}  // namespace kernelopt
