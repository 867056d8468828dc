// Launches of the warpgroup kernel for one operand type; one .cu file a type instantiates it, so
// that they compile side by side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_wgmma_joined_kernel.cuh"
#include "conv1d/conv1d_wgmma_joined_plan.h"
#include "conv1d/conv1d_wgmma_kernel.cuh"
#include "conv1d/conv1d_wgmma_pack_kernel.cuh"
#include "conv1d/conv1d_wgmma_plan.h"
#include "conv1d/conv1d_wgmma_shared_kernel.cuh"
#include "conv1d/conv1d_wgmma_shared_plan.h"
#include "conv1d/conv1d_wgmma_split_kernel.cuh"

namespace kernelopt {

template <typename T, int kSlots>
void launch_conv1d_wgmma_slots(const char* op, const Conv1dWgmmaPlan& plan, cudaStream_t stream) {
  const Conv1dCorrelation& correlation = plan.params.correlation;
  auto kernel = conv1d_wgmma_kernel<T, kSlots, false, false>;
  if (plan.params.segments > 1) {
    kernel = conv1d_wgmma_kernel<T, kSlots, false, true>;
  } else if (correlation.input_step == 1 && correlation.residues == 1) {
    kernel = conv1d_wgmma_kernel<T, kSlots, true, false>;
  }
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(plan.grid_x, plan.grid_y, plan.splits),
                           Conv1dWgmmaShape::kThreads, plan.shared_bytes, stream, plan.params));
}

/// Packs the weights as a plan's kernel reads them.
template <typename T, typename Plan>
void pack_conv1d_wgmma_weight(const char* op, const Plan& plan, uint4* packed_weight,
                              cudaStream_t stream) {
  const Conv1dProblem& problem = plan.params.problem;
  constexpr int kPackThreads = 128;
  const int units = static_cast<int>(plan.packed_bytes /
                                     (16 * MmaTraits<T>::kParts * plan.params.correlation.taps));
  auto pack = pack_conv1d_wgmma_weight_kernel<T, 0>;
  if (has_vector_weights<T>(problem)) {
    switch (problem.kernel_size) {
      case 1: pack = pack_conv1d_wgmma_weight_kernel<T, 1>; break;
      case 3: pack = pack_conv1d_wgmma_weight_kernel<T, 3>; break;
      case 5: pack = pack_conv1d_wgmma_weight_kernel<T, 5>; break;
      case 7: pack = pack_conv1d_wgmma_weight_kernel<T, 7>; break;
      default: break;
    }
  }
  pack<<<(units + kPackThreads - 1) / kPackThreads, kPackThreads, 0, stream>>>(
      plan.params, packed_weight, plan.block_slots, units);
  KERNELOPT_CHECK_LAUNCH(op);
}

template <typename T, int kSlots>
void launch_conv1d_wgmma_slots(const char* op, const Conv1dWgmmaSharedPlan& plan,
                               cudaStream_t stream) {
  auto kernel = conv1d_wgmma_shared_kernel<T, kSlots, 1, false>;
  if constexpr (kSlots <= 128) {
    if (plan.params.correlation.residues == 2) {
      kernel = conv1d_wgmma_shared_kernel<T, kSlots, 2, false>;
    } else if (plan.params.correlation.input_step > 1) {
      kernel = conv1d_wgmma_shared_kernel<T, kSlots, 1, true>;
    }
  }
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(plan.grid_x, plan.grid_y), Conv1dWgmmaShape::kThreads, plan.shared_bytes, stream>>>(
      plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
}

/// Computes a 16-bit problem with both operands in shared memory; false where that is not faster.
template <typename T>
bool launch_conv1d_wgmma_shared(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  const int device = like.get_device_index();
  const cudaStream_t stream = current_stream(like);
  Conv1dWgmmaSharedPlan plan = plan_conv1d_wgmma_shared<T>(
      problem, max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const std::vector<int64_t> words{plan.packed_bytes / 4};
  const Tensor packed = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(packed.mutable_data_ptr());
  plan.params.packed_weight = packed_weight;
  pack_conv1d_wgmma_weight<T>(op, plan, packed_weight, stream);
  switch (plan.block_slots) {
    case 32: launch_conv1d_wgmma_slots<T, 32>(op, plan, stream); break;
    case 64: launch_conv1d_wgmma_slots<T, 64>(op, plan, stream); break;
    case 128: launch_conv1d_wgmma_slots<T, 128>(op, plan, stream); break;
    default: launch_conv1d_wgmma_slots<T, 256>(op, plan, stream); break;
  }
  return true;
}

template <typename T, int kSlots>
void launch_conv1d_wgmma_slots(const char* op, const Conv1dWgmmaJoinedPlan& plan,
                               cudaStream_t stream) {
  const auto kernel = conv1d_wgmma_joined_kernel<T, kSlots>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(plan.grid_x, plan.grid_y), Conv1dWgmmaJoinedShape::kThreads,
                           plan.shared_bytes, stream, plan.params));
}

/// Computes a transposed problem with its batch entries joined; false where that is not faster, and
/// of others.
/// @param other  the plan of conv1d_wgmma_kernel
template <typename T>
bool launch_conv1d_wgmma_joined(const char* op, const Conv1dProblem& problem,
                                const Conv1dWgmmaPlan& other, const Tensor& like) {
  const int device = like.get_device_index();
  const cudaStream_t stream = current_stream(like);
  Conv1dWgmmaJoinedPlan plan = choose_conv1d_wgmma_joined<T>(
      problem, max_shared_bytes_per_block(device), multiprocessor_count(device),
      other.fits ? other.cost : std::numeric_limits<double>::infinity());
  if (!plan.fits) {
    return false;
  }
  const std::vector<int64_t> words{plan.packed_bytes / 4};
  const Tensor packed = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(packed.mutable_data_ptr());
  plan.params.packed_weight = packed_weight;
  pack_conv1d_wgmma_weight<T>(op, plan, packed_weight, stream);
  switch (plan.block_slots) {
    case 32: launch_conv1d_wgmma_slots<T, 32>(op, plan, stream); break;
    case 64: launch_conv1d_wgmma_slots<T, 64>(op, plan, stream); break;
    default: launch_conv1d_wgmma_slots<T, 128>(op, plan, stream); break;
  }
  return true;
}

/// Computes a problem; false where the kernel does not fit it.
template <typename T>
bool launch_conv1d_wgmma_as(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  if constexpr (sizeof(T) == 2) {
    if (launch_conv1d_wgmma_shared<T>(op, problem, like)) {
      return true;
    }
  }
  const int device = like.get_device_index();
  const cudaStream_t stream = current_stream(like);
  Conv1dWgmmaPlan plan = plan_conv1d_wgmma<T>(problem, max_shared_bytes_per_block(device),
                                              multiprocessor_count(device));
  if (launch_conv1d_wgmma_joined<T>(op, problem, plan, like)) {
    return true;
  }
  if (!plan.fits) {
    return false;
  }
  // The packed weights, then the splits' sums.
  const std::vector<int64_t> words{(plan.packed_bytes + plan.sums_bytes) / 4};
  const Tensor workspace = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(workspace.mutable_data_ptr());
  plan.params.packed_weight = packed_weight;
  if (plan.sums_bytes > 0) {
    plan.params.split_sums =
        static_cast<float*>(workspace.mutable_data_ptr()) + plan.packed_bytes / 4;
  }
  pack_conv1d_wgmma_weight<T>(op, plan, packed_weight, stream);
  switch (plan.block_slots) {
    case 32: launch_conv1d_wgmma_slots<T, 32>(op, plan, stream); break;
    case 64: launch_conv1d_wgmma_slots<T, 64>(op, plan, stream); break;
    default: launch_conv1d_wgmma_slots<T, 128>(op, plan, stream); break;
  }
  if (plan.sums_bytes > 0) {
    constexpr int kSumThreads = 128;
    const int64_t sum_vectors = plan.sums_bytes / (16 * plan.splits);
    const unsigned sum_blocks =
        static_cast<unsigned>((sum_vectors + kSumThreads - 1) / kSumThreads);
    KERNELOPT_CUDA_CHECK(
        op, launch_dependent(sum_conv1d_splits_kernel<T>, dim3(sum_blocks), kSumThreads, 0, stream,
                             plan.params, static_cast<int>(plan.splits), sum_vectors));
  }
  return true;
}

extern template bool launch_conv1d_wgmma_as<float>(const char*, const Conv1dProblem&,
                                                   const Tensor&);
extern template bool launch_conv1d_wgmma_as<__half>(const char*, const Conv1dProblem&,
                                                    const Tensor&);
extern template bool launch_conv1d_wgmma_as<__nv_bfloat16>(const char*, const Conv1dProblem&,
                                                           const Tensor&);

}  // namespace kernelopt
