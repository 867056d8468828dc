// The launch of the separable kernel for one operand type; one .cu file a type instantiates it, so
// that they compile side by side.
#pragma once

#include "common/device.h"
#include "separable/separable_wgmma_kernel.cuh"
#include "separable/separable_wgmma_plan.h"

namespace kernelopt {

/// False where the kernel does not fit the problem or two kernels are faster.
template <typename T>
bool launch_separable_wgmma_as(const char* op, const SeparableWgmmaProblem& problem, int device,
                               cudaStream_t stream) {
  const SeparableWgmmaPlan plan = plan_separable_wgmma<T>(
      problem, max_shared_bytes_per_block(device), multiprocessor_count(device));
  SeparableWgmmaMaps maps{};
  if (!plan.fits || !SeparableWgmmaPolicy::takes(plan) ||
      !encode_separable_maps<T>(plan.params, &maps)) {
    return false;
  }
  const bool boxes = plan.params.tensor_loads;
  const auto kernel = boxes ? separable_wgmma_kernel<T, true> : separable_wgmma_kernel<T, false>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(plan.grid_x, plan.grid_y),
           boxes ? SeparableWgmmaShape::kBoxThreads : SeparableWgmmaShape::kThreads,
           plan.shared_bytes, stream>>>(plan.params, maps);
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

extern template bool launch_separable_wgmma_as<float>(const char*, const SeparableWgmmaProblem&,
                                                      int, cudaStream_t);
extern template bool launch_separable_wgmma_as<__half>(const char*, const SeparableWgmmaProblem&,
                                                       int, cudaStream_t);
extern template bool launch_separable_wgmma_as<__nv_bfloat16>(const char*,
                                                              const SeparableWgmmaProblem&, int,
                                                              cudaStream_t);

}  // namespace kernelopt
