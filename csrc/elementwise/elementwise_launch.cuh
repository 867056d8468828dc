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

/// The plan in a struct of fewer dimensions, with the innermost one counted in vectors of kVec.
template <int kVec, int kDims, int kOperands>
Iteration<kOperands, kDims> shrink(const Iteration<kOperands>& plan) {
  Iteration<kOperands, kDims> result{};
  result.numel = plan.numel / kVec;
  result.dims = plan.dims;
  for (int dim = 0; dim < plan.dims; ++dim) {
    result.sizes[dim] = dim == 0 ? plan.sizes[0] / kVec : plan.sizes[dim];
    for (int operand = 0; operand < kOperands; ++operand) {
      result.strides[operand][dim] = plan.strides[operand][dim] * (dim == 0 ? kVec : 1);
    }
  }
  return result;
}

/// Whether every row of the innermost dimension is whole, aligned vectors of kVec elements for
/// every operand, or one broadcast element.
template <int kVec, typename T, int kInputs>
bool rows_are_vectors(const ElementwiseOperands<T, kInputs>& operands,
                      const Iteration<1 + kInputs>& plan) {
  if (plan.dims == 0 || plan.sizes[0] % kVec != 0 || plan.strides[0][0] != 1) {
    return false;
  }
  for (int operand = 0; operand <= kInputs; ++operand) {
    const T* pointer = operand == 0 ? operands.output : operands.inputs[operand - 1];
    const int64_t inner = plan.strides[operand][0];
    if (inner == 0) {
      continue;
    }
    bool aligned = inner == 1 && reinterpret_cast<uintptr_t>(pointer) % (kVec * sizeof(T)) == 0;
    for (int dim = 1; aligned && dim < plan.dims; ++dim) {
      aligned = plan.strides[operand][dim] % kVec == 0;
    }
    if (!aligned) {
      return false;
    }
  }
  return true;
}

inline unsigned blocks_for(const char* op, int64_t items, int64_t items_per_block) {
  const int64_t blocks = std::max<int64_t>(1, (items + items_per_block - 1) / items_per_block);
  KERNELOPT_CHECK(blocks <= std::numeric_limits<int32_t>::max(), op,
                  "expected at most 2^31 - 1 blocks, got ", blocks);
  return static_cast<unsigned>(blocks);
}

template <typename T, int kInputs, int kDims, int kVec, typename Functor>
void launch_strided(const char* op, const Functor& functor,
                    const ElementwiseOperands<T, kInputs>& operands,
                    const Iteration<1 + kInputs>& plan, cudaStream_t stream) {
  constexpr int kThreads = ElementwisePolicy::kThreads;
  const auto vectors = shrink<kVec, kDims>(plan);
  unsigned broadcast = 0;
  for (int input = 0; input < kInputs; ++input) {
    broadcast |= (plan.strides[1 + input][0] == 0 ? 1u : 0u) << input;
  }
  const unsigned blocks =
      blocks_for(op, vectors.numel, kThreads * ElementwisePolicy::strided_items(kVec));
  const auto kernel = vectors.numel <= std::numeric_limits<int32_t>::max()
                          ? elementwise_strided_kernel<T, Functor, kInputs, kDims, kVec, uint32_t>
                          : elementwise_strided_kernel<T, Functor, kInputs, kDims, kVec, int64_t>;
  kernel<<<blocks, kThreads, 0, stream>>>(functor, operands, vectors, broadcast);
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
    constexpr int kVec = kVecBytes / sizeof(T);
    constexpr int kFewDims = 4;  // nearly every plan; a small struct makes a cheap launch
    ElementwiseOperands<T, kInputs> operands{mutable_data<T>(output), {}};
    for (int input = 0; input < kInputs; ++input) {
      operands.inputs[input] = const_data<T>(*tensors[1 + input]);
    }
    if (plan.contiguous()) {
      const int64_t head = detail::common_head(operands);
      if (head >= 0) {
        detail::launch_contiguous<T, kInputs, kVec>(op, functor, operands, head, plan.numel,
                                                    stream);
      } else {
        detail::launch_contiguous<T, kInputs, 1>(op, functor, operands, 0, plan.numel, stream);
      }
    } else if (plan.dims > kFewDims) {
      detail::launch_strided<T, kInputs, kMaxDims, 1>(op, functor, operands, plan, stream);
    } else if (detail::rows_are_vectors<kVec>(operands, plan)) {
      detail::launch_strided<T, kInputs, kFewDims, kVec>(op, functor, operands, plan, stream);
    } else {
      detail::launch_strided<T, kInputs, kFewDims, 1>(op, functor, operands, plan, stream);
    }
  });
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
