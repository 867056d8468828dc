// output[i] = functor(inputs[i]...), all operands of one dtype, arithmetic in its accumulate type.
//
// contiguous: a block owns kThreads * kUnroll vectors, a thread kUnroll of them, 16 bytes each
// where every operand has the same misalignment (elements before and after the vectors go one by
// one).
//
// strided: any broadcast and strides, up to 64 merged dimensions; a thread owns a few elements, or
// 16-byte vectors where the innermost dimension allows, and neighbours in a warp touch neighbours.
#pragma once

#include "common/cuda.cuh"
#include "elementwise/elementwise_policy.h"
#include "elementwise/iteration.h"

#include <utility>

namespace kernelopt {

template <typename T, int kInputs>
struct ElementwiseOperands {
  T* output;
  const T* inputs[kInputs];
};

template <typename T, typename Functor, size_t... kInput>
__device__ __forceinline__ T apply_functor(const Functor& functor, const T* values,
                                           std::index_sequence<kInput...>) {
  return from_accumulate<T>(functor(to_accumulate(values[kInput])...));
}

/// numel = head + vectors * kVec + tail; the output starts its first vector at element `head`.
template <typename T, typename Functor, int kInputs, int kVec>
__global__ void __launch_bounds__(ElementwisePolicy::kThreads)
    elementwise_contiguous_kernel(Functor functor, ElementwiseOperands<T, kInputs> operands,
                                  int64_t head, int64_t vectors, int64_t numel) {
  constexpr int kThreads = ElementwisePolicy::kThreads;
  constexpr int kUnroll = ElementwisePolicy::kUnroll;
  constexpr auto kIndices = std::make_index_sequence<kInputs>{};
  using Vector = Vec<T, kVec>;

  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * kUnroll + threadIdx.x;
  Vector loaded[kInputs][kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t vector = first + u * kThreads;
    if (vector < vectors) {
#pragma unroll
      for (int input = 0; input < kInputs; ++input) {
        loaded[input][u] = reinterpret_cast<const Vector*>(operands.inputs[input] + head)[vector];
      }
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const int64_t vector = first + u * kThreads;
    if (vector < vectors) {
      Vector result;
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        T values[kInputs];
#pragma unroll
        for (int input = 0; input < kInputs; ++input) {
          values[input] = loaded[input][u].values[i];
        }
        result.values[i] = apply_functor<T>(functor, values, kIndices);
      }
      reinterpret_cast<Vector*>(operands.output + head)[vector] = result;
    }
  }

  // The elements no vector covers: fewer than two vectors' worth, done by the first block.
  const int64_t covered = vectors * kVec;
  if (blockIdx.x == 0 && threadIdx.x < numel - covered) {
    const int64_t i = threadIdx.x < head ? threadIdx.x : threadIdx.x + covered;
    T values[kInputs];
#pragma unroll
    for (int input = 0; input < kInputs; ++input) {
      values[input] = operands.inputs[input][i];
    }
    operands.output[i] = apply_functor<T>(functor, values, kIndices);
  }
}

/// The innermost dimension of `plan` counts vectors of kVec elements; with kVec > 1 every operand's
/// innermost stride is 1 or, where it is broadcast, 0, and bit `input` of `broadcast` says which.
/// `Index` is 32-bit where numel allows: a 64-bit division costs several times as much.
template <typename T, typename Functor, int kInputs, int kDims, int kVec, typename Index>
__global__ void __launch_bounds__(ElementwisePolicy::kThreads)
    elementwise_strided_kernel(Functor functor, ElementwiseOperands<T, kInputs> operands,
                               const __grid_constant__ Iteration<1 + kInputs, kDims> plan,
                               unsigned broadcast) {
  constexpr int kThreads = ElementwisePolicy::kThreads;
  constexpr int kItems = ElementwisePolicy::strided_items(kVec);
  constexpr auto kIndices = std::make_index_sequence<kInputs>{};
  using Vector = Vec<T, kVec>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * kItems + threadIdx.x;
  int64_t output_offsets[kItems];
  Vector loaded[kItems][kInputs];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int64_t i = first + item * kThreads;
    if (i < plan.numel) {
      int64_t offsets[1 + kInputs];
      plan.offsets(static_cast<Index>(i), offsets);
      output_offsets[item] = offsets[0];
#pragma unroll
      for (int input = 0; input < kInputs; ++input) {
        const T* source = operands.inputs[input] + offsets[1 + input];
        if (kVec > 1 && (broadcast >> input & 1) != 0) {
#pragma unroll
          for (int lane = 0; lane < kVec; ++lane) {
            loaded[item][input].values[lane] = *source;
          }
        } else {
          loaded[item][input] = *reinterpret_cast<const Vector*>(source);
        }
      }
    }
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    if (first + item * kThreads < plan.numel) {
      Vector result;
#pragma unroll
      for (int lane = 0; lane < kVec; ++lane) {
        T values[kInputs];
#pragma unroll
        for (int input = 0; input < kInputs; ++input) {
          values[input] = loaded[item][input].values[lane];
        }
        result.values[lane] = apply_functor<T>(functor, values, kIndices);
      }
      *reinterpret_cast<Vector*>(operands.output + output_offsets[item]) = result;
    }
  }
}

}  // namespace kernelopt
