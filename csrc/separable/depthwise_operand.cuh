// The operand of a separable convolution's product that is computed instead of read:
//   hidden[f, p] = act(bias[f] + sum over i, j of weight[f, i, j] *
//                      input[n, f / multiplier, y * stride - pad + i * dil, ...]),  p = (n, y, x)
// k runs over the filters f, the rows over the pixels p. Neighbouring threads take neighbouring
// pixels (contiguous) or filters (channels_last). kHeight, kWidth: the kernel size where it is
// known at compile time, else 0. Every size is below 2^30.
#pragma once

#include "depthwise/depthwise_params.h"
#include "separable/channel_gemm_kernel.cuh"

namespace kernelopt {

/// The window of an output pixel in the input.
struct PixelWindow {
  int64_t first_tap;  // offset of its first tap in the pixel's image, channel 0; may lie outside
  int row;            // of its first tap
  int column;
  unsigned
      inside;  // bit i * kWidth + j: whether tap (i, j) lies in the image; for a known kernel size
};

template <int kHeight, int kWidth>
__device__ __forceinline__ PixelWindow pixel_window(const DepthwiseParams& params, int64_t pixel,
                                                    bool channels_last) {
  static_assert(kHeight * kWidth <= 32, "one bit a tap");
  const int64_t plane = params.h.result_size * params.w.result_size;
  const int64_t n = pixel / plane;
  const int rest = static_cast<int>(pixel - n * plane);
  const int result_width = static_cast<int>(params.w.result_size);
  const int y = rest / result_width;
  const int x = rest - y * result_width;
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  PixelWindow window;
  window.row = y * static_cast<int>(params.h.stride) - static_cast<int>(params.h.padding);
  window.column = x * static_cast<int>(params.w.stride) - static_cast<int>(params.w.padding);
  const int64_t position = int64_t{window.row} * width + window.column;
  window.first_tap = n * params.source_channels * height * width +
                     position * (channels_last ? params.source_channels : 1);
  window.inside = 0;
#pragma unroll
  for (int i = 0; i < kHeight; ++i) {
    const int row = window.row + i * static_cast<int>(params.h.dilation);
    const bool row_inside = row >= 0 && row < height;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const int column = window.column + j * static_cast<int>(params.w.dilation);
      const bool inside = row_inside && column >= 0 && column < width;
      window.inside |= static_cast<unsigned>(inside) << (i * kWidth + j);
    }
  }
  return window;
}

template <typename T, bool kChannelsLast, int kHeight, int kWidth>
struct DepthwiseOperand {
  static constexpr bool kAlongK = kChannelsLast;
  const T* input;   // [N, C, h, w] or [N, h, w, C]
  const T* weight;  // [filters, KH, KW] or [KH, KW, filters]
  const T* bias;    // [filters] or null
  DepthwiseParams params;
  Activation activation;

  template <int kRows, typename Tile>
  struct Loader {
    using A = AccumulateType<T>;
    using Lanes = ChannelGemmLanes<kRows, Tile, kAlongK>;
    struct Shared {
      PixelWindow windows[kRows];
    };
    static constexpr int kUnrollHeight = kHeight > 0 ? kHeight : 1;
    static constexpr int kUnrollWidth = kWidth > 0 ? kWidth : 1;
    // Two elements at once where the loads of one are known: more of them in flight.
    static constexpr int kUnrollItems = kHeight > 0 ? 2 : 1;
    Lanes lanes;
    const DepthwiseOperand& operand;
    const PixelWindow* windows;
    int64_t rows;  // pixels from the tile's first on

    __device__ __forceinline__ Loader(const DepthwiseOperand& depthwise, int64_t first_row,
                                      int64_t size, Shared& shared)
        : operand(depthwise), windows(shared.windows), rows(size - first_row) {
      for (int row = threadIdx.x; row < kRows; row += Tile::kThreads) {
        shared.windows[row] =
            pixel_window<kHeight, kWidth>(operand.params, first_row + row, kChannelsLast);
      }
      __syncthreads();
    }

    __device__ __forceinline__ bool inside(const PixelWindow& window, int i, int j) const {
      if constexpr (kHeight > 0) {
        return (window.inside >> (i * kWidth + j)) & 1u;
      }
      const DepthwiseParams& params = operand.params;
      const int row = window.row + i * static_cast<int>(params.h.dilation);
      const int column = window.column + j * static_cast<int>(params.w.dilation);
      return row >= 0 && row < static_cast<int>(params.h.source_size) && column >= 0 &&
             column < static_cast<int>(params.w.source_size);
    }

    /// hidden[f, p] for the pixel with this window.
    __device__ __forceinline__ A compute(const PixelWindow& window, int f) const {
      const DepthwiseParams& params = operand.params;
      const int kernel_height = kHeight > 0 ? kHeight : static_cast<int>(params.h.kernel_size);
      const int kernel_width = kWidth > 0 ? kWidth : static_cast<int>(params.w.kernel_size);
      const int multiplier = static_cast<int>(params.multiplier);
      const int channel = multiplier == 1 ? f : f / multiplier;
      const int64_t tap_stride = kChannelsLast ? params.result_channels : 1;
      const int64_t column_step = params.w.dilation * (kChannelsLast ? params.source_channels : 1);
      const int64_t row_step =
          params.h.dilation * params.w.source_size * (kChannelsLast ? params.source_channels : 1);
      const T* tap =
          operand.weight + (kChannelsLast ? f : int64_t{f} * kernel_height * kernel_width);
      const T* source =
          operand.input + window.first_tap +
          (kChannelsLast ? channel : channel * params.h.source_size * params.w.source_size);
      A sum = operand.bias == nullptr ? A(0) : to_accumulate(operand.bias[f]);
#pragma unroll kUnrollHeight
      for (int i = 0; i < kernel_height; ++i) {
#pragma unroll kUnrollWidth
        for (int j = 0; j < kernel_width; ++j) {
          if (inside(window, i, j)) {
            sum += to_accumulate(tap[(i * kernel_width + j) * tap_stride]) *
                   to_accumulate(source[i * row_step + j * column_step]);
          }
        }
      }
      return apply_activation(operand.activation, sum);
    }

    __device__ __forceinline__ void fetch(int64_t, int64_t) {}

    /// Computes the tile at k0 straight into shared memory.
    __device__ __forceinline__ void store(int64_t k0, int64_t k_end,
                                          ChannelGemmStage<A, kRows, Tile>& stage) const {
#pragma unroll kUnrollItems
      for (int item = 0; item < Lanes::kItems; ++item) {
        const int64_t f = k0 + lanes.k(item);
        const int row = lanes.row(item);
        stage[lanes.k(item)][row] =
            f < k_end && row < rows ? compute(windows[row], static_cast<int>(f)) : A(0);
      }
    }
  };
};

}  // namespace kernelopt
