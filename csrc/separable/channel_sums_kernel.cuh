// The pointwise product with few channels of the result, of which the tensor cores' tiles would be
// mostly empty: memory is its time. A thread has some pixels, reads them from one plane after the
// other and keeps the sums of all channels of the result. Where there are few pixels the threads of
// a block share the sum as well. Arithmetic is FMA in fp32, of planes of any alignment.
#pragma once

#include "common/cuda.cuh"
#include "common/grid_dependency.cuh"
#include "separable/channel_sums_params.h"

namespace kernelopt {

/// Blocks: tiles of pixels of one image after the other.
/// @tparam kChannels  at least p.n
/// @tparam kWidth     neighbouring pixels that a thread reads at once; as many as 16 bytes hold
///                    where planes begin on 16 bytes, else one
/// @tparam kShares    of the sum
template <typename T, int kChannels, int kWidth, int kShares>
__global__ void __launch_bounds__(ChannelSumsShape::kThreads)
    channel_sums_kernel(const __grid_constant__ ChannelSumsParams p) {
  using Shape = ChannelSumsShape;
  constexpr int kPixels = Shape::kVecBytes / static_cast<int>(sizeof(T));  // of a thread
  constexpr int kGroups = kPixels / kWidth, kColumns = Shape::kThreads / kShares;
  static_assert(kColumns % 32 == 0);
  // Vectors of a thread lie as far apart as its warp's are wide, so that a warp reads runs.
  constexpr int kStep = 32 * kWidth;
  __shared__ float weights[Shape::kWeights][kChannels];
  __shared__ float shared_sums[kShares > 1 ? kShares - 1 : 1][kShares > 1 ? kChannels : 1]
                              [kShares > 1 ? kColumns : 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int column = thread % kColumns, share = thread / kColumns;
  const int64_t image = blockIdx.x / p.tiles;
  const int64_t first = (blockIdx.x - image * p.tiles) * (kColumns * kPixels) +
                        column / 32 * (32 * kPixels) + column % 32 * kWidth;
  // Pixels beyond the last read that one once more; their sums are not stored.
  int64_t offsets[kGroups];
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    const int64_t pixel = first + group * kStep;
    offsets[group] = pixel < p.pixels ? pixel : p.pixels - kWidth;
  }
  grid_dependency_wait();
  grid_dependency_launch();  // not before: a dependent may read what was complete by then
  const T* const planes = static_cast<const T*>(p.images) + image * p.k * p.pixels;
  const T* const weight = static_cast<const T*>(p.weight);
  float sums[kChannels][kPixels] = {};
  for (int64_t begin = 0; begin < p.k; begin += Shape::kWeights) {
    const int count = static_cast<int>(min(p.k - begin, int64_t{Shape::kWeights}));
    __syncthreads();
    for (int i = thread; i < count * kChannels; i += Shape::kThreads) {
      const int n = i % kChannels, k = i / kChannels;
      weights[k][n] =
          n < p.n ? to_accumulate(weight[n * p.weight_n_stride + (begin + k) * p.weight_k_stride])
                  : 0.0f;
    }
    __syncthreads();
    for (int k0 = share; k0 < count; k0 += Shape::kLoads * kShares) {
      Vec<T, kWidth> values[Shape::kLoads][kGroups];
#pragma unroll
      for (int load = 0; load < Shape::kLoads; ++load) {
        const int k = min(k0 + load * kShares, count - 1);
#pragma unroll
        for (int group = 0; group < kGroups; ++group) {
          values[load][group] = *reinterpret_cast<const Vec<T, kWidth>*>(
              planes + (begin + k) * p.pixels + offsets[group]);
        }
      }
#pragma unroll
      for (int load = 0; load < Shape::kLoads; ++load) {
        const int k = k0 + load * kShares;
        if (k < count) {
#pragma unroll
          for (int n = 0; n < kChannels; ++n) {
            const float factor = weights[k][n];
#pragma unroll
            for (int i = 0; i < kPixels; ++i) {
              const float value = to_accumulate(values[load][i / kWidth].values[i % kWidth]);
              sums[n][i] = fmaf(factor, value, sums[n][i]);
            }
          }
        }
      }
    }
  }
  if constexpr (kShares > 1) {
    // One pixel of a thread after the other, for room; the shares are added in their order.
#pragma unroll
    for (int i = 0; i < kPixels; ++i) {
      __syncthreads();
      if (share > 0) {
#pragma unroll
        for (int n = 0; n < kChannels; ++n) {
          shared_sums[share - 1][n][column] = sums[n][i];
        }
      }
      __syncthreads();
      if (share == 0) {
#pragma unroll
        for (int other = 0; other < kShares - 1; ++other) {
#pragma unroll
          for (int n = 0; n < kChannels; ++n) {
            sums[n][i] += shared_sums[other][n][column];
          }
        }
      }
    }
    if (share > 0) {
      return;
    }
  }
  T* const result = static_cast<T*>(p.result) + image * p.n * p.pixels;
  with_activation(p.activation, [&](auto kind) {
#pragma unroll
    for (int n = 0; n < kChannels; ++n) {
      if (n < p.n) {
        const float bias =
            p.bias != nullptr ? to_accumulate(static_cast<const T*>(p.bias)[n]) : 0.0f;
#pragma unroll
        for (int group = 0; group < kGroups; ++group) {
          const int64_t pixel = first + group * kStep;
          Vec<T, kWidth> vector;
#pragma unroll
          for (int i = 0; i < kWidth; ++i) {
            vector.values[i] =
                from_accumulate<T>(decltype(kind)::forward(sums[n][group * kWidth + i] + bias));
          }
          if (pixel < p.pixels) {
            *reinterpret_cast<Vec<T, kWidth>*>(result + n * p.pixels + pixel) = vector;
          }
        }
      }
    }
  });
}

}  // namespace kernelopt
