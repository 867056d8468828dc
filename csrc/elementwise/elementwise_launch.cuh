// From an iteration plan to a launch of an element-wise kernel.
#pragma once

#include "common/activation16.cuh"
#include "common/device.h"
#include "common/dtype.cuh"
#include "elementwise/elementwise.h"
#include "elementwise/elementwise_kernel.cuh"

#include <algorithm>
#include <limits>

namespace kernelopt {

namespace detail {

/// What a launch needs beside its functor and operands.
struct Launch {
  const char* op;
  cudaStream_t stream;

  /// Blocks for that many threads.
  unsigned blocks(int64_t threads) const {
    const int64_t count = divide_up(threads, ElementwisePolicy::kThreads);
    KERNELOPT_CHECK(count <= std::numeric_limits<int32_t>::max(), op,
                    "expected at most 2^31 - 1 blocks, got ", count);
    return static_cast<unsigned>(count);
  }
};

/// Elements by which a pointer is behind a multiple of 16 bytes.
template <typename T>
int misalignment(const T* pointer) {
  return static_cast<int>(reinterpret_cast<uintptr_t>(pointer) % kVecBytes / sizeof(T));
}

template <typename T, int kInputs, typename Functor>
void launch_contiguous(const Launch& launch, const Functor& functor,
                       const ElementwiseOperands<T, kInputs>& operands, int64_t numel) {
  constexpr int kVec = kVecBytes / sizeof(T);
  const int start = misalignment(operands.output);
  const int head = static_cast<int>(std::min<int64_t>((kVec - start) % kVec, numel));
  unsigned unaligned = 0;
  for (int input = 0; input < kInputs; ++input) {
    unaligned |= (misalignment(operands.inputs[input]) != start ? 1u : 0u) << input;
  }
  const int64_t vectors = (numel - head) / kVec;
  const int64_t rest = numel - vectors * kVec;
  if (rest == 0 && unaligned == 0 && vectors < kFastLimit) {
    elementwise_vectors_kernel<T, Functor, kInputs, kVec>
        <<<launch.blocks(vectors), ElementwisePolicy::kThreads, 0, launch.stream>>>(
            functor, operands, static_cast<uint32_t>(vectors));
    return;
  }
  elementwise_contiguous_kernel<T, Functor, kInputs, kVec>
      <<<launch.blocks(vectors + rest), ElementwisePolicy::kThreads, 0, launch.stream>>>(
          functor, operands, unaligned, head, vectors, numel);
}

/// Whether all indices and offsets of the plan are below kFastLimit.
template <int kOperands>
bool fits_fast(const Iteration<kOperands>& plan) {
  bool fits = plan.numel < kFastLimit;
  for (int operand = 0; operand < kOperands; ++operand) {
    int64_t last = 0;
    for (int dim = 0; dim < plan.dims; ++dim) {
      last += (plan.sizes[dim] - 1) * plan.strides[operand][dim];
    }
    fits = fits && last < kFastLimit;
  }
  return fits;
}

template <int kDims, int kOperands>
FastIteration<kOperands, kDims> make_fast(const Iteration<kOperands>& plan) {
  FastIteration<kOperands, kDims> fast{};
  fast.numel = static_cast<uint32_t>(plan.numel);
  fast.dims = plan.dims;
  for (int dim = plan.dims; dim < kDims; ++dim) {
    fast.sizes[dim] = FastDivisor::of(1);
  }
  for (int dim = 0; dim < plan.dims; ++dim) {
    fast.sizes[dim] = FastDivisor::of(static_cast<uint32_t>(plan.sizes[dim]));
    for (int operand = 0; operand < kOperands; ++operand) {
      fast.strides[operand][dim] = static_cast<uint32_t>(plan.strides[operand][dim]);
    }
  }
  return fast;
}

/// The operand's elements are neighbours all along the plan's order.
template <int kOperands>
bool is_dense(const Iteration<kOperands>& plan, int operand) {
  int64_t expected = 1;
  for (int dim = 0; dim < plan.dims; ++dim) {
    if (plan.strides[operand][dim] != expected) {
      return false;
    }
    expected *= plan.sizes[dim];
  }
  return true;
}

/// The operand's elements are neighbours within each row of the innermost dimension, and vectors
/// of kVec that start at multiples of kVec in the plan's order are aligned where the operand is.
template <int kVec, int kOperands>
bool has_vector_rows(const Iteration<kOperands>& plan, int operand) {
  bool result = plan.strides[operand][0] == 1 && plan.sizes[0] % kVec == 0;
  for (int dim = 1; dim < plan.dims; ++dim) {
    result = result && plan.strides[operand][dim] % kVec == 0;
  }
  return result;
}

template <int kVec, typename T, int kInputs, typename Functor>
void launch_strided(const Launch& launch, const Functor& functor,
                    const ElementwiseOperands<T, kInputs>& operands,
                    const Iteration<1 + kInputs>& plan) {
  unsigned dense = 0, rows = 0;
  bool vectors = plan.sizes[0] % kVec == 0;
  for (int operand = 0; operand <= kInputs; ++operand) {
    const T* pointer = operand == 0 ? operands.output : operands.inputs[operand - 1];
    const bool aligned = misalignment(pointer) == 0;
    const bool dense_vectors = aligned && is_dense(plan, operand);
    const bool row_vectors = aligned && has_vector_rows<kVec>(plan, operand);
    dense |= (dense_vectors ? 1u : 0u) << operand;
    rows |= (row_vectors ? 1u : 0u) << operand;
    vectors =
        vectors && (dense_vectors || row_vectors || (operand > 0 && plan.strides[operand][0] == 0));
  }
  const auto run = [&](auto kernel, const auto& fast) {
    kernel<<<launch.blocks(divide_up(plan.numel, kVec)), ElementwisePolicy::kThreads, 0,
             launch.stream>>>(functor, operands, fast, dense, rows);
  };
  if (kVec > 1 && !vectors) {  // single elements have no such instance
    run(elementwise_strided_kernel<T, Functor, kInputs, kVec, kVec == 1, kFastDims>,
        make_fast<kFastDims>(plan));
  } else if (plan.dims <= kFewDims) {
    run(elementwise_strided_kernel<T, Functor, kInputs, kVec, true, kFewDims>,
        make_fast<kFewDims>(plan));
  } else {
    run(elementwise_strided_kernel<T, Functor, kInputs, kVec, true, kFastDims>,
        make_fast<kFastDims>(plan));
  }
}

template <typename T, int kInputs, typename Functor>
void launch_plan(const Launch& launch, const Functor& functor,
                 const ElementwiseOperands<T, kInputs>& operands,
                 const Iteration<1 + kInputs>& plan);

/// Halves of the outermost dimension that can be halved, until all indices are small.
template <typename T, int kInputs, typename Functor>
void launch_halves(const Launch& launch, const Functor& functor,
                   const ElementwiseOperands<T, kInputs>& operands,
                   const Iteration<1 + kInputs>& plan) {
  constexpr int64_t kVec = kVecBytes / sizeof(T);
  int dim = plan.dims - 1;
  while (plan.sizes[dim] == 1) {
    --dim;
  }
  const int64_t middle = plan.sizes[dim] / 2;
  const int64_t first = dim == 0 && middle > kVec ? middle / kVec * kVec : middle;
  const auto part = [&](int64_t begin, int64_t size) {
    Iteration<1 + kInputs> part_plan = plan;
    part_plan.sizes[dim] = size;
    part_plan.numel = plan.numel / plan.sizes[dim] * size;
    ElementwiseOperands<T, kInputs> part_operands = operands;
    part_operands.output += begin * plan.strides[0][dim];
    for (int input = 0; input < kInputs; ++input) {
      part_operands.inputs[input] += begin * plan.strides[1 + input][dim];
    }
    launch_plan(launch, functor, part_operands, part_plan);
  };
  part(0, first);
  part(first, plan.sizes[dim] - first);
}

template <typename T, int kInputs, typename Functor>
void launch_plan(const Launch& launch, const Functor& functor,
                 const ElementwiseOperands<T, kInputs>& operands,
                 const Iteration<1 + kInputs>& plan) {
  constexpr int kVec = kVecBytes / sizeof(T);
  if (plan.contiguous()) {
    launch_contiguous(launch, functor, operands, plan.numel);
  } else if (plan.dims > kFastDims) {
    elementwise_general_kernel<T, Functor, kInputs>
        <<<launch.blocks(plan.numel), ElementwisePolicy::kThreads, 0, launch.stream>>>(
            functor, operands, plan);
  } else if (!fits_fast(plan)) {
    launch_halves(launch, functor, operands, plan);
  } else if (plan.sizes[0] >= kVec) {
    launch_strided<kVec>(launch, functor, operands, plan);
  } else {
    launch_strided<1>(launch, functor, operands, plan);
  }
}

}  // namespace detail

/// operands[0] = functor(operands[1], ...): one dtype and device, checked by the caller; the inputs
/// broadcast to the output's shape. `make_functor` makes the functor for a TypeTag of that dtype.
template <int kInputs, typename MakeFunctor>
void launch_elementwise(const char* op, const MakeFunctor& make_functor,
                        const Tensor* const (&tensors)[1 + kInputs]) {
  const Tensor& output = *tensors[0];
  const auto plan = plan_iteration(tensors);
  if (plan.numel == 0) {
    return;
  }
  const torch::stable::accelerator::DeviceGuard guard(output.get_device_index());
  const detail::Launch launch{op, current_stream(output)};
  dispatch_floating_cuda(op, output.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    ElementwiseOperands<T, kInputs> operands{mutable_data<T>(output), {}};
    for (int input = 0; input < kInputs; ++input) {
      operands.inputs[input] = const_data<T>(*tensors[1 + input]);
    }
    detail::launch_plan(launch, make_functor(tag), operands, plan);
  });
  KERNELOPT_CHECK_LAUNCH(op);
}

}  // namespace kernelopt
