// output[i] = functor(inputs[i]...), all operands of one dtype, arithmetic in its accumulate type.
// A thread owns kVec neighbouring elements of the output, 16 bytes.
//
// vectors:    dense operands of whole, aligned vectors: little code, for small calls wait for it.
// contiguous: dense operands; elements before and after the vectors go one by one.
// strided:    any broadcast and strides of at most kFastDims merged dimensions, indices below 2^31.
// general:    whatever else, an element a thread.
#pragma once

#include "common/cuda.cuh"
#include "elementwise/elementwise_policy.h"
#include "elementwise/fast_iteration.h"

#include <type_traits>
#include <utility>

namespace kernelopt {

template <typename T, int kInputs>
struct ElementwiseOperands {
  T* output;
  const T* inputs[kInputs];
};

/// One vector of the output from one of each input; kInput counts the inputs.
template <typename T, int kVec, typename Functor, size_t... kInput>
__device__ __forceinline__ Vec<T, kVec> apply_functor(const Functor& functor,
                                                      const Vec<T, kVec>* inputs,
                                                      std::index_sequence<kInput...>) {
  Vec<T, kVec> result;
#pragma unroll
  for (int lane = 0; lane < kVec; ++lane) {
    result.values[lane] =
        from_accumulate<T>(functor(to_accumulate(inputs[kInput].values[lane])...));
  }
  return result;
}

template <typename T, int kVec>
__device__ __forceinline__ Vec<T, kVec> load_vector(const T* source) {
  return *reinterpret_cast<const Vec<T, kVec>*>(source);
}

/// The vector at `source`, or the element there in its place kVec times. 16-bit elements are pairs
/// until the load is done: the compiler would take the vector apart, and wait for it, before it
/// loads the element.
template <typename T, int kVec>
__device__ __forceinline__ Vec<T, kVec> load_vector_or_single(const T* source, bool single) {
  if constexpr (kVec == 1) {
    return load_vector<T, kVec>(source);
  } else {
    constexpr bool kPairs = sizeof(T) == 2;
    using Word = std::conditional_t<kPairs, uint32_t, T>;
    using Words = Vec<Word, kVec * sizeof(T) / sizeof(Word)>;
    Words words;
    if (single) {
      Word word;
      if constexpr (kPairs) {
        word = *reinterpret_cast<const uint16_t*>(source) * 0x10001u;
      } else {
        word = *source;
      }
      for (Word& each : words.values) {
        each = word;
      }
    } else {
      words = *reinterpret_cast<const Words*>(source);
    }
    return reinterpret_cast<const Vec<T, kVec>&>(words);
  }
}

/// The vector at any address.
template <typename T, int kVec>
__device__ __forceinline__ Vec<T, kVec> load_elements(const T* source) {
  Vec<T, kVec> result;
#pragma unroll
  for (int lane = 0; lane < kVec; ++lane) {
    result.values[lane] = source[lane];
  }
  return result;
}

/// Vectors and nothing else, aligned in every operand; fewer than 2^31 of them.
template <typename T, typename Functor, int kInputs, int kVec>
__global__ void __launch_bounds__(ElementwisePolicy::kThreads)
    elementwise_vectors_kernel(Functor functor, ElementwiseOperands<T, kInputs> operands,
                               uint32_t vectors) {
  using Vector = Vec<T, kVec>;
  const uint32_t i = blockIdx.x * ElementwisePolicy::kThreads + threadIdx.x;
  if (i < vectors) {
    Vector loaded[kInputs];
#pragma unroll
    for (int input = 0; input < kInputs; ++input) {
      loaded[input] = reinterpret_cast<const Vector*>(operands.inputs[input])[i];
    }
    reinterpret_cast<Vector*>(operands.output)[i] =
        apply_functor<T, kVec>(functor, loaded, std::make_index_sequence<kInputs>{});
  }
}

/// numel = head + vectors * kVec + tail; the output's first vector starts at element `head`. An
/// input whose vectors start elsewhere has its bit set in `unaligned`.
template <typename T, typename Functor, int kInputs, int kVec>
__global__ void __launch_bounds__(ElementwisePolicy::kThreads)
    elementwise_contiguous_kernel(Functor functor, ElementwiseOperands<T, kInputs> operands,
                                  unsigned unaligned, int head, int64_t vectors, int64_t numel) {
  constexpr auto kIndices = std::make_index_sequence<kInputs>{};
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (thread < vectors) {
    const int64_t first = head + thread * kVec;
    Vec<T, kVec> loaded[kInputs];
#pragma unroll
    for (int input = 0; input < kInputs; ++input) {
      const T* source = operands.inputs[input] + first;
      loaded[input] = (unaligned >> input & 1) != 0 ? load_elements<T, kVec>(source)
                                                    : load_vector<T, kVec>(source);
    }
    *reinterpret_cast<Vec<T, kVec>*>(operands.output + first) =
        apply_functor<T, kVec>(functor, loaded, kIndices);
    return;
  }
  // The threads behind the vectors take the elements that no vector covers.
  const int64_t rest = thread - vectors;
  const int64_t i = rest < head ? rest : rest + vectors * kVec;
  if (i < numel) {
    Vec<T, 1> single[kInputs];
#pragma unroll
    for (int input = 0; input < kInputs; ++input) {
      single[input].values[0] = operands.inputs[input][i];
    }
    operands.output[i] = apply_functor<T, 1>(functor, single, kIndices).values[0];
  }
}

/// Vectors of kVec elements in the plan's order; a row of its innermost dimension has no fewer. Bit
/// `operand` of `dense` says that the operand's elements are neighbours all along that order, of
/// `rows` that they are within a row; in both, that the vectors are aligned.
/// @tparam kVectors  rows are whole vectors, which every input has in memory or, of more than one
/// element, as a single value, and the output has in memory: little code, for small calls wait for
/// it
template <typename T, typename Functor, int kInputs, int kVec, bool kVectors, int kDims>
__global__ void __maxnreg__(ElementwisePolicy::kRegisters)
    elementwise_strided_kernel(Functor functor, ElementwiseOperands<T, kInputs> operands,
                               const __grid_constant__ FastIteration<1 + kInputs, kDims> plan,
                               unsigned dense, unsigned rows) {
  const uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * kVec;
  if (first >= plan.numel) {
    return;
  }
  uint32_t offsets[1 + kInputs], next[1 + kInputs] = {};
  const uint32_t inner = plan.offsets(first, offsets);
  // Elements left, of all and in this row.
  const uint32_t count = kVectors ? kVec : plan.numel - first;
  const uint32_t left = kVectors ? kVec : plan.sizes[0].divisor - inner;
  if (left < kVec && left < count) {
    plan.offsets(first + left, next);
  }
  const unsigned vectors = left >= kVec ? dense | rows : count >= kVec ? dense : 0;
  const auto offset = [&](int operand, uint32_t lane) {
    const uint32_t stride = plan.strides[operand][0];
    return lane < left ? offsets[operand] + lane * stride : next[operand] + (lane - left) * stride;
  };

  Vec<T, kVec> loaded[kInputs];
#pragma unroll
  for (int input = 0; input < kInputs; ++input) {
    const int operand = 1 + input;
    const T* source = operands.inputs[input] + offsets[operand];
    const bool single = kVec > 1 && left >= kVec && plan.strides[operand][0] == 0;
    if constexpr (kVectors) {
      loaded[input] = load_vector_or_single<T, kVec>(source, single);
    } else if (single) {
      const T value = *source;
#pragma unroll
      for (int lane = 0; lane < kVec; ++lane) {
        loaded[input].values[lane] = value;
      }
    } else if ((vectors >> operand & 1) != 0) {
      loaded[input] = load_vector<T, kVec>(source);
    } else {
#pragma unroll
      for (int lane = 0; lane < kVec; ++lane) {
        if (lane < count) {
          loaded[input].values[lane] = operands.inputs[input][offset(operand, lane)];
        }
      }
    }
  }
  const Vec<T, kVec> result =
      apply_functor<T, kVec>(functor, loaded, std::make_index_sequence<kInputs>{});
  if (kVectors || (vectors & 1) != 0) {
    *reinterpret_cast<Vec<T, kVec>*>(operands.output + offsets[0]) = result;
  } else if constexpr (!kVectors) {
#pragma unroll
    for (int lane = 0; lane < kVec; ++lane) {
      if (lane < count) {
        operands.output[offset(0, lane)] = result.values[lane];
      }
    }
  }
}

template <typename T, typename Functor, int kInputs>
__global__ void __launch_bounds__(ElementwisePolicy::kThreads)
    elementwise_general_kernel(Functor functor, ElementwiseOperands<T, kInputs> operands,
                               const __grid_constant__ Iteration<1 + kInputs> plan) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= plan.numel) {
    return;
  }
  int64_t offsets[1 + kInputs];
  plan.offsets(i, offsets);
  Vec<T, 1> loaded[kInputs];
#pragma unroll
  for (int input = 0; input < kInputs; ++input) {
    loaded[input].values[0] = operands.inputs[input][offsets[1 + input]];
  }
  operands.output[offsets[0]] =
      apply_functor<T, 1>(functor, loaded, std::make_index_sequence<kInputs>{}).values[0];
}

}  // namespace kernelopt
