// grad_z = grad where relu(z) > 0, else 0, and its sums over the pixels of each channel: the bias
// gradient of the convolution before the ReLU, without another pass over the gradient. A block has
// a share of the pixels, of one channel in contiguous images, else of `lanes` vectors of channels.
// The sums of shares are added by share_sum_kernel, one share's are the result: no atomics.
#pragma once

#include "common/cuda.cuh"
#include "separable/relu_gradient_plan.h"

namespace kernelopt {

/// A vector of the gradient, written to where it belongs.
template <typename T, int kVec>
__device__ __forceinline__ Vec<T, kVec> relu_gradient(const Vec<T, kVec>& grad,
                                                      const Vec<T, kVec>& relu) {
  Vec<T, kVec> result;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    result.values[i] = from_accumulate<T>(
        Relu::backward(to_accumulate(grad.values[i]), to_accumulate(relu.values[i])));
  }
  return result;
}

template <typename T, typename A, int kVec>
__global__ void __launch_bounds__(ReluGradientShape::kThreads)
    relu_gradient_planes_kernel(const T* grad,  // [N, C, plane]; may be grad_z
                                const T* relu, T* grad_z,
                                T* result,   // [C], of one share
                                A* partial,  // [shares, C], of more
                                const __grid_constant__ ReluGradientPlan p) {
  using Vector = Vec<T, kVec>;
  constexpr int kThreads = ReluGradientShape::kThreads, kUnroll = ReluGradientShape::kUnroll;
  __shared__ A warp_sums[kThreads / 32];
  const int64_t channel = blockIdx.x;
  const int64_t begin = blockIdx.y * p.share_length;
  const int64_t end = min(begin + p.share_length, p.items);
  int64_t image = (begin + threadIdx.x) / p.run_items, place = (begin + threadIdx.x) % p.run_items;
  const int64_t images = kThreads / p.run_items, places = kThreads % p.run_items;
  A sum = 0;
  for (int64_t item = begin + threadIdx.x; item < end; item += int64_t{kUnroll} * kThreads) {
    Vector grads[kUnroll], relus[kUnroll];
    int64_t starts[kUnroll], firsts[kUnroll];  // of the plane in memory, of the vector in it
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      starts[u] = (image * p.channels + channel) * p.plane;
      firsts[u] = item + u * kThreads < end ? place * kVec - starts[u] % kVec : p.plane;
      if (firsts[u] >= 0 && firsts[u] + kVec <= p.plane) {
        grads[u] = *reinterpret_cast<const Vector*>(grad + starts[u] + firsts[u]);
        relus[u] = *reinterpret_cast<const Vector*>(relu + starts[u] + firsts[u]);
      }
      image += images;
      place += places;
      if (place >= p.run_items) {
        place -= p.run_items;
        ++image;
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (firsts[u] >= 0 && firsts[u] + kVec <= p.plane) {
        const Vector result_vector = relu_gradient(grads[u], relus[u]);
        *reinterpret_cast<Vector*>(grad_z + starts[u] + firsts[u]) = result_vector;
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          sum += to_accumulate(result_vector.values[i]);
        }
      } else {
        for (int64_t i = max(firsts[u], int64_t{0}); i < min(firsts[u] + kVec, p.plane); ++i) {
          const int64_t at = starts[u] + i;
          const Vec<T, 1> one = relu_gradient(Vec<T, 1>{grad[at]}, Vec<T, 1>{relu[at]});
          grad_z[at] = one.values[0];
          sum += to_accumulate(one.values[0]);
        }
      }
    }
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, lanes);
  }
  if (threadIdx.x % 32 == 0) {
    warp_sums[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / 32; ++warp) {
      sum += warp_sums[warp];
    }
    if (p.shares == 1) {
      result[channel] = from_accumulate<T>(sum);
    } else {
      partial[blockIdx.y * p.channels + channel] = sum;
    }
  }
}

template <typename T, typename A, int kVec>
__global__ void __launch_bounds__(ReluGradientShape::kThreads)
    relu_gradient_rows_kernel(const T* grad,  // [pixels, C]; may be grad_z
                              const T* relu, T* grad_z,
                              T* result,   // [C], of one share
                              A* partial,  // [shares, C], of more
                              const __grid_constant__ ReluGradientPlan p) {
  using Vector = Vec<T, kVec>;
  constexpr int kThreads = ReluGradientShape::kThreads, kUnroll = ReluGradientShape::kUnroll;
  __shared__ A block_sums[kThreads * kVec];
  const int lane = threadIdx.x % p.lanes, row = threadIdx.x / p.lanes, rows = kThreads / p.lanes;
  const int64_t vectors = p.channels / kVec;
  const int64_t vector = static_cast<int64_t>(blockIdx.x) * p.lanes + lane;
  const int64_t begin = blockIdx.y * p.share_length;
  const int64_t end = row < rows && vector < vectors ? min(begin + p.share_length, p.items) : 0;
  A sums[kVec] = {};
  for (int64_t pixel = begin + row; pixel < end; pixel += int64_t{kUnroll} * rows) {
    Vector grads[kUnroll], relus[kUnroll];
    const int64_t first = pixel * vectors + vector, step = rows * vectors;
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (pixel + u * rows < end) {
        grads[u] = reinterpret_cast<const Vector*>(grad)[first + u * step];
        relus[u] = reinterpret_cast<const Vector*>(relu)[first + u * step];
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (pixel + u * rows < end) {
        const Vector result_vector = relu_gradient(grads[u], relus[u]);
        reinterpret_cast<Vector*>(grad_z)[first + u * step] = result_vector;
#pragma unroll
        for (int i = 0; i < kVec; ++i) {
          sums[i] += to_accumulate(result_vector.values[i]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    block_sums[threadIdx.x * kVec + i] = sums[i];
  }
  __syncthreads();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * p.lanes * kVec;
  for (int i = threadIdx.x; i < p.lanes * kVec; i += kThreads) {
    if (first + i < p.channels) {
      A sum = block_sums[i];
      for (int other = 1; other < rows; ++other) {
        sum += block_sums[other * p.lanes * kVec + i];
      }
      if (p.shares == 1) {
        result[first + i] = from_accumulate<T>(sum);
      } else {
        partial[blockIdx.y * p.channels + first + i] = sum;
      }
    }
  }
}

}  // namespace kernelopt
