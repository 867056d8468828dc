// The input gradient of a depthwise convolution of contiguous tensors with stride 2, dilation 1 and
// a kernel size known at compile time:
//   grad_input[n, c, y, x] = sum over f of channel c and i, j of weight[f, i, j] *
//       grad_z[n, f, (y + pad_h - i) / 2, (x + pad_w - j) / 2]   where both are whole
// Every other tap of a row and of a column meets a result, which ones its coordinates' parity says:
// a thread owns kRows x kVec results from a known parity on, so that all its taps are known at
// compile time. It reads what they need at once, straight into registers, and stores them straight
// to memory; neighbours own neighbouring columns. Coordinates and items below 2^30.
#pragma once

#include "common/row_window.cuh"
#include "depthwise/depthwise_params.h"
#include "depthwise/depthwise_policy.h"

namespace kernelopt {

/// Along an axis: what kCount results read, of which the first plus the padding is even (kParity 0)
/// or odd. Result r and tap k meet at source s where r + kParity = 2 s + k, s counted from half of
/// the first result plus the padding.
template <int kSize, int kParity, int kCount>
struct PhaseReach {
  static constexpr int kFirst = -((kSize - 1 - kParity) / 2);
  static constexpr int kSources = (kParity + kCount - 1) / 2 - kFirst + 1;

  /// The tap at which a result meets the source; it may be outside the kernel.
  static constexpr int tap(int result, int source) {
    return result + kParity - 2 * (source + kFirst);
  }
};

template <typename T, int kHeight, int kWidth, int kParity, int kRows, int kVec>
__global__ void __launch_bounds__(DepthwisePolicy::kThreads)
    depthwise_phase_gradient_kernel(const __grid_constant__ DepthwiseParams params,
                                    const T* __restrict__ source,  // [N, source_channels, h, w]
                                    const T* __restrict__ weight,  // [filters, kHeight, kWidth]
                                    T* __restrict__ result,        // [N, result_channels, h, w]
                                    unsigned strips, unsigned columns, unsigned items) {
  using Rows = PhaseReach<kHeight, 0, kRows>;
  using Columns = PhaseReach<kWidth, kParity, kVec>;
  constexpr int kTaps = kHeight * kWidth;
  const unsigned item = blockIdx.x * DepthwisePolicy::kThreads + threadIdx.x;
  if (item >= items) {
    return;
  }
  const unsigned rest = item / columns;
  const int column = static_cast<int>(item - rest * columns) * kVec;
  const unsigned plane = rest / strips;
  const int padding_h = static_cast<int>(params.h.padding);
  const int row = static_cast<int>(rest - plane * strips) * kRows - (padding_h & 1);
  const unsigned n = plane / static_cast<unsigned>(params.result_channels);
  const int channel = static_cast<int>(plane - n * static_cast<unsigned>(params.result_channels));
  const int filters = static_cast<int>(params.filters);
  const int height = static_cast<int>(params.h.source_size);
  const int width = static_cast<int>(params.w.source_size);
  const int first_y = (row + padding_h) / 2 + Rows::kFirst;
  const int first_x = (column + static_cast<int>(params.w.padding)) / 2 + Columns::kFirst;

  float sums[kRows][kVec];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int v = 0; v < kVec; ++v) {
      sums[r][v] = 0.0f;
    }
  }
#pragma unroll 1
  for (int f = channel * filters; f < (channel + 1) * filters; ++f) {
    const T* const image = source + (int64_t{n} * params.source_channels + f) * height * width;
    const T* const filter = weight + int64_t{f} * kTaps;
    float taps[kTaps];
    float zero = 0.0f;
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      taps[tap] = to_accumulate(filter[tap]);
      zero += taps[tap] * 0.0f;
    }
    // Zeros outside the source must not meet taps that are not finite.
    const auto add = [&](auto finite) {
#pragma unroll
      for (int s = 0; s < Rows::kSources; ++s) {
        const int y = first_y + s;
#pragma unroll
        for (int c = 0; c < Columns::kSources; ++c) {
          const int x = first_x + c;
          const bool inside = y >= 0 && y < height && x >= 0 && x < width;
          const float value = inside ? to_accumulate(image[y * width + x]) : 0.0f;
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
#pragma unroll
            for (int v = 0; v < kVec; ++v) {
              const int i = Rows::tap(r, s), j = Columns::tap(v, c);
              if (i >= 0 && i < kHeight && j >= 0 && j < kWidth &&
                  (decltype(finite)::value || inside)) {
                sums[r][v] += taps[i * kWidth + j] * value;
              }
            }
          }
        }
      }
    };
    if (zero == 0.0f) {
      add(std::true_type{});
    } else {
      add(std::false_type{});
    }
  }

  const int result_height = static_cast<int>(params.h.result_size);
  const int result_width = static_cast<int>(params.w.result_size);
  T* const to = result + (int64_t{plane} * result_height + row) * result_width + column;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (row + r >= 0 && row + r < result_height) {
      store_results<T>(reinterpret_cast<unsigned char*>(to + int64_t{r} * result_width), sums[r],
                       result_width - column);
    }
  }
}

}  // namespace kernelopt
