// Launches of the tensor-core weight gradient for one operand type; one .cu file a type
// instantiates it, so that they compile side by side.
#pragma once

#include "common/share_sum.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_weight_gradient_mma_kernel.cuh"
#include "conv1d/conv1d_weight_gradient_mma_plan.h"
#include "conv1d/weight_gradient_align.cuh"
#include "conv1d/weight_gradient_sum_kernel.cuh"

namespace kernelopt {

/// sum_conv1d_weight_gradient_shares() of one type.
template <typename T>
void sum_weight_gradient_shares_as(const char* op, const Conv1dWeightGradientProblem& problem,
                                   const Tensor& shares, bool taps_first, const Tensor& gradient) {
  const int splits = gradient_sum_splits(shares.size(0));
  const bool vectors = !taps_first && gradient_sum_has_vectors(problem.numel(), splits);
  const int64_t blocks = (problem.numel() - 1) / gradient_sum_elements(splits, vectors ? 4 : 1) + 1;
  const Conv1dWeightGradientProblem& exact =
      problem.original != nullptr ? *problem.original : problem;
  const auto kernel = vectors      ? weight_gradient_sum_kernel<T, 4>
                      : taps_first ? weight_gradient_sum_kernel<T, 1, true>
                                   : weight_gradient_sum_kernel<T, 1>;
  KERNELOPT_CUDA_CHECK(op,
                       launch_dependent(kernel, dim3(grid_size(op, blocks)), kGradientSumThreads, 0,
                                        current_stream(gradient), exact, const_data<float>(shares),
                                        mutable_data<T>(gradient), shares.size(0), splits));
}

/// Plans a gradient for one policy and, where it fits, launches all stages.
template <typename T, typename Policy>
bool launch_weight_gradient(const char* op, Conv1dWeightGradientProblem problem,
                            GradientLayout layout, const Tensor& gradient) {
  const int device = gradient.get_device_index();
  WeightGradientMmaParams<T> p = weight_gradient_params<WeightGradientMmaParams<T>>(problem);
  const auto plan = [&] {
    return plan_weight_gradient_mma<T, Policy>(
        p, problem, layout, max_shared_bytes_per_block(device), multiprocessor_count(device));
  };
  if (!plan().fits) {
    return false;
  }
  if (layout == GradientLayout::kChannels && !starts_on_words<T>(problem, layout)) {
    return false;
  }
  const AlignedOperands<T> copies(op, problem, layout, gradient);
  p = weight_gradient_params<WeightGradientMmaParams<T>>(problem);
  const WeightGradientMmaPlan final_plan = plan();
  const int64_t shares = final_plan.shares * Policy::kWarpsK;
  const Tensor partial = empty_shares<T>(op, shares, p.numel, gradient);
  p.partial = mutable_data<float>(partial);
  auto kernel = layout == GradientLayout::kRows
                    ? conv1d_weight_gradient_mma_kernel<T, Policy, GradientLayout::kRows>
                    : conv1d_weight_gradient_mma_kernel<T, Policy, GradientLayout::kStridedRows>;
  if constexpr (Policy::kTaps == 1) {
    if (layout == GradientLayout::kChannels) {
      kernel = conv1d_weight_gradient_mma_kernel<T, Policy, GradientLayout::kChannels>;
    }
  }
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                final_plan.shared_bytes));
  KERNELOPT_CUDA_CHECK(
      op, launch_kernel(problem.operands_ready && !copies.any(), kernel,
                        dim3(static_cast<unsigned>(final_plan.blocks)), Policy::kThreads,
                        final_plan.shared_bytes, current_stream(gradient), p));
  sum_weight_gradient_shares_as<T>(op, problem, partial, false, gradient);
  return true;
}

template <typename T>
bool launch_conv1d_weight_gradient_mma_as(const char* op,
                                          const Conv1dWeightGradientProblem& problem,
                                          const Tensor& gradient) {
  GradientLayout layout;
  if (!gradient_layout(problem, layout)) {
    return false;
  }
  bool launched = false;
  with_weight_gradient_policy(problem, layout, [&](auto policy) {
    launched = launch_weight_gradient<T, decltype(policy)>(op, problem, layout, gradient);
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

extern template void sum_weight_gradient_shares_as<float>(const char*,
                                                          const Conv1dWeightGradientProblem&,
                                                          const Tensor&, bool, const Tensor&);
extern template void sum_weight_gradient_shares_as<__half>(const char*,
                                                           const Conv1dWeightGradientProblem&,
                                                           const Tensor&, bool, const Tensor&);
extern template void sum_weight_gradient_shares_as<__nv_bfloat16>(
    const char*, const Conv1dWeightGradientProblem&, const Tensor&, bool, const Tensor&);

}  // namespace kernelopt
