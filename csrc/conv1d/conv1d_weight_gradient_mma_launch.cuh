// Launches of the tensor-core weight gradient for one operand type; one .cu file a type
// instantiates it, so that they compile side by side.
#pragma once

#include "common/share_sum.cuh"
#include "conv1d/conv1d_cuda.h"
#include "conv1d/conv1d_weight_gradient_mma_kernel.cuh"
#include "conv1d/conv1d_weight_gradient_mma_plan.h"
#include "conv1d/weight_gradient_align_kernel.cuh"
#include "conv1d/weight_gradient_sum_kernel.cuh"

#include <optional>

namespace kernelopt {

/// A contiguous copy of one operand with rows on 16-byte boundaries; `data` and `strides` become
/// the copy's.
template <typename T>
Tensor align_rows(const char* op, const void*& data, Strides1d& strides, int64_t batch,
                  int64_t channels, int64_t length, const Tensor& like, cudaStream_t stream) {
  constexpr int64_t kElements = 16 / sizeof(T);
  constexpr int64_t kChunk = kAlignThreads * kAlignItems * 2;
  const int64_t rows = checked_mul(op, "the number of rows", batch, channels);
  const int64_t pitch = (length - 1) / kElements * kElements + kElements;
  const int64_t chunks = (length - 1) / kChunk + 1;
  const Tensor copy =
      empty_contiguous(op, std::vector<int64_t>{rows, pitch}, like.scalar_type(), like);
  const unsigned blocks = grid_size(op, checked_mul(op, "the number of blocks", rows, chunks));
  align_rows_kernel<T><<<blocks, kAlignThreads, 0, stream>>>(
      static_cast<const T*>(data), mutable_data<T>(copy), strides, channels, length, pitch,
      static_cast<uint32_t>(chunks));
  KERNELOPT_CHECK_LAUNCH(op);
  data = copy.const_data_ptr();
  strides = {channels * pitch, pitch, 1};
  return copy;
}

/// sum_conv1d_weight_gradient_shares() of one type.
template <typename T>
void sum_weight_gradient_shares_as(const char* op, const Conv1dWeightGradientProblem& problem,
                                   const Tensor& shares, const Tensor& gradient) {
  const int splits = gradient_sum_splits(shares.size(0));
  const bool vectors = gradient_sum_has_vectors(problem.numel(), splits);
  const int64_t blocks = (problem.numel() - 1) / gradient_sum_elements(splits, vectors ? 4 : 1) + 1;
  const auto kernel = vectors ? weight_gradient_sum_kernel<T, 4> : weight_gradient_sum_kernel<T, 1>;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(grid_size(op, blocks)), kGradientSumThreads, 0,
                           current_stream(gradient), problem, const_data<float>(shares),
                           mutable_data<T>(gradient), shares.size(0), splits));
}

/// Plans a gradient for one policy and, where it fits, launches all stages.
template <typename T, typename Policy>
bool launch_weight_gradient(const char* op, Conv1dWeightGradientProblem problem,
                            GradientLayout layout, const Tensor& gradient) {
  const int device = gradient.get_device_index();
  const cudaStream_t stream = current_stream(gradient);
  WeightGradientMmaParams<T> p = weight_gradient_params<T>(problem);
  const auto plan = [&] {
    return plan_weight_gradient_mma<T, Policy>(
        p, problem, layout, max_shared_bytes_per_block(device), multiprocessor_count(device));
  };
  if (!plan().fits) {
    return false;
  }
  std::optional<Tensor> steady_copy, shifted_copy;
  if constexpr (sizeof(T) == 2) {
    const bool steady_starts = runs_start_on(4, problem.steady, problem.steady_strides,
                                             problem.steady_channels, layout, sizeof(T));
    const bool shifted_starts = runs_start_on(4, problem.shifted, problem.shifted_strides,
                                              problem.shifted_channels, layout, sizeof(T));
    if (layout == GradientLayout::kChannels && !(steady_starts && shifted_starts)) {
      return false;
    }
    if (!steady_starts) {
      steady_copy = align_rows<T>(op, problem.steady, problem.steady_strides, problem.batch,
                                  problem.groups * problem.steady_channels, problem.steady_length,
                                  gradient, stream);
    }
    if (!shifted_starts) {
      shifted_copy = align_rows<T>(op, problem.shifted, problem.shifted_strides, problem.batch,
                                   problem.groups * problem.shifted_channels,
                                   problem.shifted_length, gradient, stream);
    }
    p = weight_gradient_params<T>(problem);
  }
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
  kernel<<<static_cast<unsigned>(final_plan.blocks), Policy::kThreads, final_plan.shared_bytes,
           stream>>>(p);
  KERNELOPT_CHECK_LAUNCH(op);
  sum_weight_gradient_shares_as<T>(op, problem, partial, gradient);
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
                                                          const Tensor&, const Tensor&);
extern template void sum_weight_gradient_shares_as<__half>(const char*,
                                                           const Conv1dWeightGradientProblem&,
                                                           const Tensor&, const Tensor&);
extern template void sum_weight_gradient_shares_as<__nv_bfloat16>(
    const char*, const Conv1dWeightGradientProblem&, const Tensor&, const Tensor&);

}  // namespace kernelopt
