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

/// Where the window of an output pixel begins.
struct WindowOrigin {
  int64_t image;  // offset of the pixel's image in the input
  int row;
  int column;
};

__device__ __forceinline__ WindowOrigin window_origin(const DepthwiseParams& params,
                                                      int64_t pixel) {
  const int64_t plane = params.h.result_size * params.w.result_size;
  const int64_t n = pixel / plane;
  const int rest = static_cast<int>(pixel - n * plane);
  const int width = static_cast<int>(params.w.result_size);
  const int y = rest / width;
  const int x = rest - y * width;
  return {n * params.source_channels * params.h.source_size * params.w.source_size,
          y * static_cast<int>(params.h.stride) - static_cast<int>(params.h.padding),
          x * static_cast<int>(params.w.stride) - static_cast<int>(params.w.padding)};
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
      WindowOrigin origins[kRows];
    };
    static constexpr int kUnrollHeight = kHeight > 0 ? kHeight : 1;
    static constexpr int kUnrollWidth = kWidth > 0 ? kWidth : 1;
    Lanes lanes;
    const DepthwiseOperand& operand;
    const WindowOrigin* origins;
    int64_t rows;  // pixels from the tile's first on

    __device__ __forceinline__ Loader(const DepthwiseOperand& depthwise, int64_t first_row,
                                      int64_t size, Shared& shared)
        : operand(depthwise), origins(shared.origins), rows(size - first_row) {
      for (int row = threadIdx.x; row < kRows; row += Tile::kThreads) {
        shared.origins[row] = window_origin(operand.params, first_row + row);
      }
      __syncthreads();
    }

    /// hidden[f, p] for the pixel whose window begins at `origin`.
    __device__ __forceinline__ A compute(const WindowOrigin& origin, int f) const {
      const DepthwiseParams& params = operand.params;
      const int height = static_cast<int>(params.h.source_size);
      const int width = static_cast<int>(params.w.source_size);
      const int filters = static_cast<int>(params.result_channels);
      const int channels = static_cast<int>(params.source_channels);
      const int kernel_height = kHeight > 0 ? kHeight : static_cast<int>(params.h.kernel_size);
      const int kernel_width = kWidth > 0 ? kWidth : static_cast<int>(params.w.kernel_size);
      const int channel = f / static_cast<int>(params.multiplier);
      const int tap_stride = kChannelsLast ? filters : 1;
      const int64_t pixel_stride = kChannelsLast ? channels : 1;
      const T* tap =
          operand.weight + (kChannelsLast ? f : int64_t{f} * kernel_height * kernel_width);
      const T* plane = operand.input + origin.image +
                       (kChannelsLast ? channel : int64_t{channel} * height * width);
      A sum = operand.bias == nullptr ? A(0) : to_accumulate(operand.bias[f]);
#pragma unroll kUnrollHeight
      for (int i = 0; i < kernel_height; ++i) {
        const int row = origin.row + i * static_cast<int>(params.h.dilation);
        const bool row_inside = row >= 0 && row < height;
#pragma unroll kUnrollWidth
        for (int j = 0; j < kernel_width; ++j) {
          const int column = origin.column + j * static_cast<int>(params.w.dilation);
          if (row_inside && column >= 0 && column < width) {
            sum += to_accumulate(tap[(i * kernel_width + j) * tap_stride]) *
                   to_accumulate(plane[(row * width + column) * pixel_stride]);
          }
        }
      }
      return apply_activation(operand.activation, sum);
    }

    __device__ __forceinline__ void fetch(int64_t, int64_t) {}

    /// Computes the tile at k0 straight into shared memory.
    __device__ __forceinline__ void store(int64_t k0, int64_t k_end,
                                          ChannelGemmStage<A, kRows, Tile>& stage) const {
#pragma unroll 1
      for (int item = 0; item < Lanes::kItems; ++item) {
        const int64_t f = k0 + lanes.k(item);
        const int row = lanes.row(item);
        stage[lanes.k(item)][row] =
            f < k_end && row < rows ? compute(origins[row], static_cast<int>(f)) : A(0);
      }
    }
  };
};

}  // namespace kernelopt
