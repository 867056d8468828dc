// Element-wise loops on the CPU, over torch's thread pool.
#pragma once

#include "common/dtype.h"
#include "elementwise/elementwise.h"

#include <algorithm>
#include <array>
#include <utility>

namespace kernelopt {

constexpr int64_t kCpuGrainSize = 32768;  // elements a task, as ATen's own loops

namespace detail {

template <typename T, typename Function, size_t... kInput>
T apply_at(const Function& function, const std::array<const T*, sizeof...(kInput)>& inputs,
           const int64_t* offsets, std::index_sequence<kInput...>) {
  using A = AccumulateType<T>;
  return static_cast<T>(function(static_cast<A>(inputs[kInput][offsets[kInput]])...));
}

// Elements begin to end of operands without gaps: a loop that the compiler turns into vectors.
template <typename T, typename Function, size_t... kInput>
void apply_along(const Function& function, T* output,
                 const std::array<const T*, sizeof...(kInput)>& inputs, int64_t begin, int64_t end,
                 std::index_sequence<kInput...>) {
  using A = AccumulateType<T>;
// The output may be an input: then element i is read before it is written, and no other is.
#pragma GCC ivdep
  for (int64_t i = begin; i < end; ++i) {
    output[i] = static_cast<T>(function(static_cast<A>(inputs[kInput][i])...));
  }
}

}  // namespace detail

/// output = function(inputs...), every operand of type T, walked by `plan` (operand 0 the output).
template <typename T, size_t kInputs, typename Function>
void elementwise_loop_cpu(const Iteration<1 + kInputs>& plan, const Function& function, T* output,
                          const std::array<const T*, kInputs>& inputs) {
  constexpr auto kIndices = std::make_index_sequence<kInputs>{};
  const bool contiguous = plan.contiguous();
  torch::stable::parallel_for(0, plan.numel, kCpuGrainSize, [&](int64_t begin, int64_t end) {
    if (contiguous) {
      detail::apply_along(function, output, inputs, begin, end, kIndices);
      return;
    }
    int64_t offsets[1 + kInputs];
    for (int64_t i = begin; i < end; ++i) {
      plan.offsets(i, offsets);
      output[offsets[0]] = detail::apply_at(function, inputs, offsets + 1, kIndices);
    }
  });
}

}  // namespace kernelopt
