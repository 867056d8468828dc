// Launches of the Toeplitz kernel for one operand type; one .cu file a type instantiates it, so
// that they compile side by side.
#pragma once

#include "common/device.h"
#include "common/tensor.h"
#include "conv1d/conv1d_toeplitz_kernel.cuh"
#include "conv1d/conv1d_toeplitz_policy.h"

namespace kernelopt {

/// Launches a problem with a tile; false where its weights and windows do not fit.
template <typename T, int kTilesM, bool kShared>
bool launch_conv1d_toeplitz_tile(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  const int device = like.get_device_index();
  const Conv1dToeplitzPlan plan = plan_conv1d_toeplitz<T>(
      problem, kTilesM, kShared, max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const auto kernel = conv1d_toeplitz_kernel<T, kTilesM, kShared>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<dim3(plan.grid_x, plan.grid_y), Conv1dToeplitzShape::kThreads, plan.shared_bytes,
           current_stream(like)>>>(plan.params);
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

/// Computes a problem; false where the kernel does not fit it.
template <typename T>
bool launch_conv1d_toeplitz_as(const char* op, const Conv1dProblem& problem, const Tensor& like) {
  const bool shared = toeplitz_shares_words(problem);
  if constexpr (sizeof(T) == 2) {
    if (toeplitz_pairs_tiles(problem)) {
      return shared ? launch_conv1d_toeplitz_tile<T, 2, true>(op, problem, like)
                    : launch_conv1d_toeplitz_tile<T, 2, false>(op, problem, like);
    }
  }
  return shared ? launch_conv1d_toeplitz_tile<T, 1, true>(op, problem, like)
                : launch_conv1d_toeplitz_tile<T, 1, false>(op, problem, like);
}

extern template bool launch_conv1d_toeplitz_as<float>(const char*, const Conv1dProblem&,
                                                      const Tensor&);
extern template bool launch_conv1d_toeplitz_as<__half>(const char*, const Conv1dProblem&,
                                                       const Tensor&);
extern template bool launch_conv1d_toeplitz_as<__nv_bfloat16>(const char*, const Conv1dProblem&,
                                                              const Tensor&);

}  // namespace kernelopt
