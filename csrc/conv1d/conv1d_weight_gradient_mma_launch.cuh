// Launches of the tensor-core weight gradient for one operand type; one .cu file a type
// instantiates it, so that they compile side by side.
#pragma once

#include "common/share_sum.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_weight_gradient_mma_kernel.cuh"
#include "conv1d/conv1d_weight_gradient_mma_plan.h"
#include "conv1d/weight_gradient_sum_kernel.cuh"

namespace kernelopt {

template <typename T, typename Policy, typename WindowLoads>
void launch_weight_gradient_kernel(const char* op, const WeightGradientMmaParams<T>& p,
                                   const WeightGradientMmaPlan& plan, cudaStream_t stream) {
  const auto kernel = conv1d_weight_gradient_mma_kernel<T, Policy, WindowLoads>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  kernel<<<static_cast<unsigned>(plan.blocks), Policy::kThreads, plan.shared_bytes, stream>>>(p);
  KERNELOPT_CHECK_LAUNCH(op);
}

/// Plans a gradient for one policy and, where it fits, launches both stages.
template <typename T, typename Policy>
bool launch_weight_gradient(const char* op, const Conv1dWeightGradientProblem& problem,
                            const Tensor& gradient) {
  using Sliding = std::conditional_t<Policy::kTaps == 1, SingleTapLoads<T, Policy::kBlockShifted>,
                                     SlidingLoads<T, Policy::kBlockShifted>>;
  using Gathered = GatheredLoads<T, Policy::kBlockShifted, Policy::kTaps>;
  const int device = gradient.get_device_index();
  const cudaStream_t stream = current_stream(gradient);
  WeightGradientMmaParams<T> p = weight_gradient_params<T>(problem);
  const WeightGradientMmaPlan plan = plan_weight_gradient_mma<T, Policy>(
      p, Sliding::kMaxWords, max_shared_bytes_per_block(device), multiprocessor_count(device));
  if (!plan.fits) {
    return false;
  }
  const int64_t shares = plan.shares * Policy::kWarpsK;
  const Tensor partial = empty_shares<T>(op, shares, p.numel, gradient);
  p.partial = mutable_data<float>(partial);
  if (plan.sliding) {
    launch_weight_gradient_kernel<T, Policy, Sliding>(op, p, plan, stream);
  } else {
    launch_weight_gradient_kernel<T, Policy, Gathered>(op, p, plan, stream);
  }
  const int64_t blocks = (p.numel - 1) / kGradientSumElements + 1;
  weight_gradient_sum_kernel<T><<<grid_size(op, blocks), kGradientSumThreads, 0, stream>>>(
      problem, p.partial, mutable_data<T>(gradient), shares);
  KERNELOPT_CHECK_LAUNCH(op);
  return true;
}

template <typename T>
bool launch_conv1d_weight_gradient_mma_as(const char* op,
                                          const Conv1dWeightGradientProblem& problem,
                                          const Tensor& gradient) {
  bool launched = false;
  with_weight_gradient_policy(problem, [&](auto policy) {
    launched = launch_weight_gradient<T, decltype(policy)>(op, problem, gradient);
  });
  return launched;
}

extern template bool launch_conv1d_weight_gradient_mma_as<float>(const char*,
                                                                 const Conv1dWeightGradientProblem&,
                                                                 const Tensor&);
extern template bool launch_conv1d_weight_gradient_mma_as<__half>(
    const char*, const Conv1dWeightGradientProblem&, const Tensor&);
extern template bool launch_conv1d_weight_gradient_mma_as<__nv_bfloat16>(
    const char*, const Conv1dWeightGradientProblem&, const Tensor&);

}  // namespace kernelopt
