// Launches of the warpgroup kernel for one operand type; one .cu file a type instantiates it, so
// that they compile side by side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_wgmma_kernel.cuh"
#include "conv1d/conv1d_wgmma_pack_kernel.cuh"
#include "conv1d/conv1d_wgmma_plan.h"
#include "conv1d/conv1d_wgmma_shared_kernel.cuh"
#include "conv1d/conv1d_wgmma_shared_plan.h"

namespace kernelopt {

template <typename T, int kSlots>
void launch_conv1d_wgmma_slots(const char* op, const Conv1dWgmmaPlan& plan, cudaStream_t stream) {
  const Conv1dCorrelation& correlation = plan.params.correlation;
  const auto kernel = correlation.input_step == 1 && correlation.residues == 1
                          ? conv1d_wgmma_kernel<T, kSlots, true>
                          : conv1d_wgmma_kernel<T, kSlots, false>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(plan.grid_x, plan.grid_y), Conv1dWgmmaShape::kThreads, plan.shared_bytes, stream>>>(
      plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
}

template <typename T, int kSlots>
void launch_conv1d_wgmma_slots(const char* op, const Conv1dWgmmaSharedPlan& plan,
                               cudaStream_t stream) {
  const auto kernel = plan.params.correlation.residues == 1
                          ? conv1d_wgmma_shared_kernel<T, kSlots, true>
                          : conv1d_wgmma_shared_kernel<T, kSlots, false>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(plan.grid_x, plan.grid_y), Conv1dWgmmaShape::kThreads, plan.shared_bytes, stream>>>(
      plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
}

/// Packs the weights and launches what a plan says; false where it does not fit.
template <typename T, typename Plan>
bool launch_conv1d_wgmma_plan(const char* op, Plan plan, const Tensor& like) {
  if (!plan.fits) {
    return false;
  }
  const cudaStream_t stream = current_stream(like);
  const std::vector<int64_t> words{plan.packed_bytes / 4};
  const Tensor packed = empty_contiguous(op, words, ScalarType::Float, like);
  uint4* packed_weight = static_cast<uint4*>(packed.mutable_data_ptr());
  plan.params.packed_weight = packed_weight;
  constexpr int kPackThreads = 256;
  const int64_t vectors = plan.packed_bytes / (16 * MmaTraits<T>::kParts);
  const unsigned blocks = static_cast<unsigned>((vectors + kPackThreads - 1) / kPackThreads);
  pack_conv1d_wgmma_weight_kernel<T>
      <<<blocks, kPackThreads, 0, stream>>>(plan.params, packed_weight, plan.block_slots, vectors);
  KERNELOPT_CHECK_LAUNCH(op);
  switch (plan.block_slots) {
    case 32: launch_conv1d_wgmma_slots<T, 32>(op, plan, stream); break;
    case 64: launch_conv1d_wgmma_slots<T, 64>(op, plan, stream); break;
    case 128: launch_conv1d_wgmma_slots<T, 128>(op, plan, stream); break;
    default:
      if constexpr (std::is_same_v<Plan, Conv1dWgmmaSharedPlan>) {
        launch_conv1d_wgmma_slots<T, 256>(op, plan, stream);
      }
  }
  return true;
}

/// Computes a problem; false where no kernel fits it.
template <typename T>
bool launch_conv1d_wgmma_as(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  const int device = like.get_device_index();
  const int shared_bytes = max_shared_bytes_per_block(device);
  const int multiprocessors = multiprocessor_count(device);
  if constexpr (sizeof(T) == 2) {
    if (launch_conv1d_wgmma_plan<T>(
            op, plan_conv1d_wgmma_shared<T>(problem, shared_bytes, multiprocessors), like)) {
      return true;
    }
  }
  return launch_conv1d_wgmma_plan<T>(
      op, plan_conv1d_wgmma<T>(problem, shared_bytes, multiprocessors), like);
}

extern template bool launch_conv1d_wgmma_as<float>(const char*, const Conv1dProblem&,
                                                   const Tensor&);
extern template bool launch_conv1d_wgmma_as<__half>(const char*, const Conv1dProblem&,
                                                    const Tensor&);
extern template bool launch_conv1d_wgmma_as<__nv_bfloat16>(const char*, const Conv1dProblem&,
                                                           const Tensor&);

}  // namespace kernelopt
