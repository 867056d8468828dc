// Launches of the weight gradient on Hopper for one operand type; one .cu file a type instantiates
// it, so that they compile side by side.
#pragma once

#include "common/share_sum.cuh"
#include "conv1d/conv1d_weight_gradient_mma.h"
#include "conv1d/conv1d_weight_gradient_wgmma.h"
#include "conv1d/weight_gradient_align.cuh"
#include "conv1d/weight_gradient_wgmma_kernel.cuh"
#include "conv1d/weight_gradient_wgmma_plan.h"

namespace kernelopt {

template <typename T>
auto weight_gradient_wgmma_instance(int taps, bool half) {
  if (half) {
    return conv1d_weight_gradient_wgmma_kernel<T, WeightGradientWgmmaShape::kHalfTaps, true>;
  }
  switch (taps) {
    case 1: return conv1d_weight_gradient_wgmma_kernel<T, 1, false>;
    case 2: return conv1d_weight_gradient_wgmma_kernel<T, 2, false>;
    case 3: return conv1d_weight_gradient_wgmma_kernel<T, 3, false>;
    case 4: return conv1d_weight_gradient_wgmma_kernel<T, 4, false>;
    default: return conv1d_weight_gradient_wgmma_kernel<T, 5, false>;
  }
}

template <typename T>
bool launch_conv1d_weight_gradient_wgmma_as(const char* op,
                                            const Conv1dWeightGradientProblem& problem,
                                            const Tensor& gradient) {
  const int device = gradient.get_device_index();
  GradientLayout layout;
  if (!has_wgmma(device) || !gradient_layout(problem, layout) ||
      layout == GradientLayout::kChannels || !weight_gradient_wgmma_pays(problem, sizeof(T))) {
    return false;
  }
  WeightGradientWgmmaParams<T> p{};
  const auto plan_of = [&](const Conv1dWeightGradientProblem& operands) {
    p = weight_gradient_params<WeightGradientWgmmaParams<T>>(operands);
    return plan_weight_gradient_wgmma(p, operands, max_shared_bytes_per_block(device),
                                      multiprocessor_count(device));
  };
  if (!plan_of(problem).fits) {
    return false;
  }
  Conv1dWeightGradientProblem operands = problem;
  const AlignedOperands<T> copies(op, operands, layout, gradient);
  const WeightGradientWgmmaPlan plan = plan_of(operands);
  const Tensor partial = empty_shares<T>(op, plan.shares, p.numel, gradient);
  p.partial = mutable_data<float>(partial);
  const auto kernel = weight_gradient_wgmma_instance<T>(plan.taps, plan.half);
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  KERNELOPT_CUDA_CHECK(op, launch_kernel(problem.operands_ready && !copies.any(), kernel,
                                         dim3(static_cast<unsigned>(plan.blocks)),
                                         WeightGradientWgmmaShape::kThreads, plan.shared_bytes,
                                         current_stream(gradient), p));
  sum_conv1d_weight_gradient_shares(op, operands, partial, true, gradient);
  return true;
}

}  // namespace kernelopt
