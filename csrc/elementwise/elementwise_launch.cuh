// From an iteration plan to a launch of an element-wise kernel.
#pragma once

#include "common/device.h"
#include "common/dtype.cuh"
#include "elementwise/elementwise.h"
#include "elementwise/elementwise_kernel.cuh"

#include <algorithm>
#include <limits>

namespace kernelopt {

namespace detail {

/// Elements until `pointer` is aligned to 16 bytes, if every operand agrees; else -1.
template <typename T, int kInputs>
int64_t common_head(const ElementwiseOperands<T, kInputs>& operands) {
  const auto misalignment = [](const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % kVecBytes;
  };
  const size_t expected = misalignment(operands.output);
  for (const T* input : operands.inputs) {
    if (misalignment(input) != expected) {
      return -1;
    }
  }
  return static_cast<int64_t>((kVecBytes - expected) % kVecBytes / sizeof(T));
}

template <int kOperands, int kDims>
Iteration<kOperands, kDims> shrink(const Iteration<kOperands>& plan) {
  Iteration<kOperands, kDims> result{};
  result.numel = plan.numel;
  result.dims = plan.dims;
  for (int dim = 0; dim < plan.dims; ++dim) {
    result.sizes[dim] = plan.sizes[dim];
    for (int operand = 0; operand < kOperands; ++operand) {
      result.strides[operand][dim] = plan.strides[operand][dim];
    }
  }
  return result;
}

inline unsigned blocks_for(const char* op, int64_t items, int64_t items_per_block) {
  const int64_t blocks = std::max<int64_t>(1, (items + items_per_block - 1) / items_per_block);
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 blocks, got ", blocks);
  return static_cast<unsigned>(blocks);
}

template <typename T, int kInputs, int kDims, typename Functor>
void launch_strided(const char* op, const Functor& functor,
                    const ElementwiseOperands<T, kInputs>& operands,
                    const Iteration<1 + kInputs>& plan, cudaStream_t stream) {
  constexpr int kThreads = ElementwisePolicy::kThreads;
  const unsigned blocks = blocks_for(op, plan.numel, kThreads * ElementwisePolicy::kItemsPerThread);
  const auto small = shrink<1 + kInputs, kDims>(plan);
  if (plan.numel <= std::numeric_limits<int32_t>::max()) {
    elementwise_strided_kernel<T, Functor, kInputs, kDims, uint32_t>
        <<<blocks, kThreads, 0, stream>>>(functor, operands, small);
  } else {
    elementwise_strided_kernel<T, Functor, kInputs, kDims, int64_t>
        <<<blocks, kThreads, 0, stream>>>(functor, operands, small);
  }
}

template <typename T, int kInputs, int kVec, typename Functor>
void launch_contiguous(const char* op, const Functor& functor,
                       const ElementwiseOperands<T, kInputs>& operands, int64_t head, int64_t numel,
                       cudaStream_t stream) {
  constexpr int kThreads = ElementwisePolicy::kThreads;
  head = std::min(head, numel);
  const int64_t vectors = (numel - head) / kVec;
  const unsigned blocks = blocks_for(op, vectors, kThreads * ElementwisePolicy::kUnroll);
  elementwise_contiguous_kernel<T, Functor, kInputs, kVec>
      <<<blocks, kThreads, 0, stream>>>(functor, operands, head, vectors, numel);
}

}  // namespace detail

/// operands[0] = functor(operands[1], ...): one dtype and device, checked by the caller; the inputs
/// broadcast to the output's shape.
template <int kInputs, typename Functor>
void launch_elementwise(const char* op, const Functor& functor,
                        const Tensor* const (&tensors)[1 + kInputs]) {
  const Tensor& output = *tensors[0];
  const auto plan = plan_iteration(tensors);
  if (plan.numel == 0) {
    return;
  }
  const torch::stable::accelerator::DeviceGuard guard(output.get_device_index());
  const cudaStream_t stream = current_stream(output);
  dispatch_floating_cuda(op, output.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ElementwiseOperands<T, kInputs> operands{mutable_data<T>(output), {}};
    for (int input = 0; input < kInputs; ++input) {
      operands.inputs[input] = const_data<T>(*tensors[1 + input]);
    }
    if (plan.contiguous()) {
      const int64_t head = detail::common_head(operands);
      if (head >= 0) {
        detail::launch_contiguous<T, kInputs, kVecBytes / sizeof(T)>(op, functor, operands, head,
                                                                     plan.numel, stream);
      } else {
        detail::launch_contiguous<T, kInputs, 1>(op, functor, operands, 0, plan.numel, stream);
      }
    } else if (plan.dims <= 4) {
      detail::launch_strided<T, kInputs, 4>(op, functor, operands, plan, stream);
    } else {
      detail::launch_strided<T, kInputs, kMaxDims>(op, functor, operands, plan, stream);
    }
  });
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
