// Element-wise loops on the CPU, over torch's thread pool.
#pragma once

#include "elementwise/elementwise.h"
#include "elementwise/instruction_sets_cpu.h"

#include <algorithm>
#include <array>
#include <utility>

namespace kernelopt {

// Elements a task, as in ATen's own loops: of sums, and of functions that take more time.
constexpr int64_t kCpuGrainSize = 32768;
constexpr int64_t kCpuFunctionGrainSize = 16384;
// Elements a call of the compiled loop, always that many: so the compiler makes nothing but vectors
// of it, and a value does not depend on where its element stands.
constexpr int kCpuBlock = 256;

namespace detail {

/// Calls `function(offset, position, length)` for every run along the innermost dimension of
/// elements `start` to `start + count` of an operand.
template <int kOperands, typename Function>
void for_each_run(const Iteration<kOperands>& plan, int operand, int64_t start, int64_t count,
                  const Function& function) {
  const auto& strides = plan.strides[operand];
  int64_t index[kMaxDims];
  int64_t offset = 0;
  index[0] = 0;
  for (int dim = 0; dim < plan.dims; ++dim) {
    index[dim] = start % plan.sizes[dim];
    start /= plan.sizes[dim];
    offset += index[dim] * strides[dim];
  }
  const int64_t row = plan.dims == 0 ? 1 : plan.sizes[0];
  for (int64_t position = 0; position < count;) {
    const int64_t length = std::min(row - index[0], count - position);
    function(offset, position, length);
    position += length;
    offset -= index[0] * strides[0];
    index[0] = 0;
    for (int dim = 1; dim < plan.dims; ++dim) {
      offset += strides[dim];
      if (++index[dim] < plan.sizes[dim]) {
        break;
      }
      offset -= plan.sizes[dim] * strides[dim];
      index[dim] = 0;
    }
  }
}

/// Elements `start` to `start + count` of an operand, and zeros after them.
template <typename T, int kOperands>
void gather(const Iteration<kOperands>& plan, int operand, const T* source, int64_t start,
            int64_t count, T (&block)[kCpuBlock]) {
  const int64_t stride = plan.strides[operand][0];
  for_each_run(plan, operand, start, count, [&](int64_t offset, int64_t position, int64_t length) {
    const T* from = source + offset;
    T* to = block + position;
    if (stride == 1) {
      std::copy_n(from, length, to);
    } else {
      for (int64_t i = 0; i < length; ++i) {
        to[i] = from[i * stride];
      }
    }
  });
  std::fill(block + count, block + kCpuBlock, T(0));
}

template <typename T, int kOperands>
void scatter(const Iteration<kOperands>& plan, const T (&block)[kCpuBlock], T* output,
             int64_t start, int64_t count) {
  const int64_t stride = plan.strides[0][0];
  for_each_run(plan, 0, start, count, [&](int64_t offset, int64_t position, int64_t length) {
    for (int64_t i = 0; i < length; ++i) {
      output[offset + i * stride] = block[position + i];
    }
  });
}

/// output[i] = function(inputs[i]...) for whole blocks.
template <typename A, typename Function, size_t... kInput>
void apply(const Function& function, A* output,
           const std::array<const A*, sizeof...(kInput)>& inputs, int64_t blocks,
           std::index_sequence<kInput...>) {
// The output may be an input: then element i is read before it is written, and no other is.
#pragma GCC ivdep
  for (int64_t i = 0; i < blocks * kCpuBlock; ++i) {
    output[i] = function(inputs[kInput][i]...);
  }
}

template <typename Set, typename T, size_t kInputs, typename Function>
void apply_blocks(Set set, const Function& function, T* output,
                  const std::array<const T*, kInputs>& inputs, int64_t blocks) {
  using A = AccumulateType<T>;
  constexpr auto kIndices = std::make_index_sequence<kInputs>{};
  if constexpr (std::is_same_v<T, A>) {
    apply(function, output, inputs, blocks, kIndices);
  } else {
    A wide[kInputs][kCpuBlock];
    A result[kCpuBlock];
    std::array<const A*, kInputs> operands;
    for (int64_t start = 0; start < blocks * kCpuBlock; start += kCpuBlock) {
      for (size_t i = 0; i < kInputs; ++i) {
        convert<kCpuBlock>(set, inputs[i] + start, wide[i]);
        operands[i] = wide[i];
      }
      apply(function, result, operands, 1, kIndices);
      convert<kCpuBlock>(set, result, output + start);
    }
  }
}

}  // namespace detail

/// output = function(inputs...), every operand of type T, walked by `plan` (operand 0 the output).
template <typename T, size_t kInputs, typename Function>
void elementwise_loop_cpu(const Iteration<1 + kInputs>& plan, const Function& function, T* output,
                          const std::array<const T*, kInputs>& inputs,
                          int64_t grain_size = kCpuGrainSize) {
  bool dense[1 + kInputs];
  bool all_dense = true;
  for (int operand = 0; operand <= static_cast<int>(kInputs); ++operand) {
    dense[operand] = plan.dense(operand);
    all_dense = all_dense && dense[operand];
  }
  const auto body = [&](auto set, int64_t begin, int64_t end) {
    T gathered[kInputs][kCpuBlock];
    T result[kCpuBlock];
    std::array<const T*, kInputs> operands;
    if (all_dense) {
      const int64_t blocks = (end - begin) / kCpuBlock;
      for (size_t i = 0; i < kInputs; ++i) {
        operands[i] = inputs[i] + begin;
      }
      detail::apply_blocks(set, function, output + begin, operands, blocks);
      begin += blocks * kCpuBlock;
    }
    for (int64_t start = begin; start < end; start += kCpuBlock) {
      const int64_t count = std::min<int64_t>(kCpuBlock, end - start);
      const bool whole = count == kCpuBlock;
      for (size_t i = 0; i < kInputs; ++i) {
        if (whole && dense[1 + i]) {
          operands[i] = inputs[i] + start;
        } else {
          detail::gather(plan, static_cast<int>(1 + i), inputs[i], start, count, gathered[i]);
          operands[i] = gathered[i];
        }
      }
      const bool direct = whole && dense[0];
      detail::apply_blocks(set, function, direct ? output + start : result, operands, 1);
      if (!direct) {
        detail::scatter(plan, result, output, start, count);
      }
    }
  };
  torch::stable::parallel_for(0, plan.numel, grain_size, [&](int64_t begin, int64_t end) {
    run_vectorized(body, begin, end);
  });
}

}  // namespace kernelopt
