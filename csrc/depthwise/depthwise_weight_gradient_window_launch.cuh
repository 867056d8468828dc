// Launches of depthwise_weight_gradient_window_kernel for one dtype; one .cu file a dtype
// instantiates it, so that they compile side by side.
#pragma once

#include "common/dtype.cuh"
#include "common/share_sum.cuh"
#include "depthwise/depthwise_weight_gradient_window.h"
#include "depthwise/depthwise_weight_gradient_window_kernel.cuh"

#include <algorithm>

namespace kernelopt {

/// The columns of padding where windows lie at aligned addresses, else -1: rows of whole units of
/// 16 bytes, and no padding or half a kernel of it.
template <typename T>
int gradient_window_lead(const DepthwiseWeightGradientParams& params, const SlidingPlan& plan,
                         const T* source) {
  const int64_t width = params.w.kernel_size, padding = params.w.padding;
  const bool aligned = plan.source_pitch % 16 == 0 && reinterpret_cast<uintptr_t>(source) % 16 == 0;
  return aligned && (padding == 0 || (width % 2 == 1 && padding == width / 2))
             ? static_cast<int>(padding)
             : -1;
}

/// What is read and written; `weight` and `grad_input` are null where the weight gradient alone is
/// computed.
template <typename T>
struct GradientWindowOperands {
  const T* own;
  const T* source;
  const T* weight;
  T* grad_input;
};

/// @param params  of the correlation of `source`
template <typename T, int kHeight, int kWidth, bool kBoth>
bool launch_gradient_window(const char* op, DepthwiseWeightGradientParams params,
                            const GradientWindowOperands<T>& operands, const Tensor& grad_weight,
                            cudaStream_t stream) {
  using Policy = WindowGradientPolicy<kHeight, kWidth, kBoth>;
  constexpr int kHalf = kWidth % 2 == 1 ? kWidth / 2 : 0;
  const int device = grad_weight.get_device_index();
  const int64_t multiprocessors = multiprocessor_count(device);
  const int64_t largest_block = max_shared_bytes_per_block(device);
  const int64_t plane_bytes =
      (params.h.source_size * params.w.source_size + params.h.result_size * params.w.result_size) *
      static_cast<int64_t>(sizeof(T));
  const int64_t stage_bytes =
      std::min(Policy::stage_bytes(plane_bytes),
               largest_block / 2 - DepthwiseWeightGradientPolicy::kStageMargin);
  const SlidingPlan plan =
      plan_sliding<Policy>(forward_of(params), sizeof(T), static_cast<int>(multiprocessors),
                           stage_bytes, params.filters);
  const int64_t shared_bytes =
      std::max<int64_t>(kWindowZeros + 2 * plan.shared_bytes,
                        plan.threads * kHeight * kWidth * int64_t{sizeof(float)});
  if (shared_bytes > largest_block) {
    return false;
  }
  const int64_t blocks =
      share_strips(&params, plan, multiprocessors * Policy::kBlocksPerMultiprocessor);
  const Tensor partial = empty_shares<T>(op, params.shares, grad_weight.numel(), grad_weight);
  const int lead = gradient_window_lead<T>(params, plan, operands.source);
  auto kernel = depthwise_weight_gradient_window_kernel<T, kHeight, kWidth, -1, kBoth>;
  if (lead == kHalf) {
    kernel = depthwise_weight_gradient_window_kernel<T, kHeight, kWidth, kHalf, kBoth>;
  } else if constexpr (!kBoth) {
    if (lead == 0) {
      kernel = depthwise_weight_gradient_window_kernel<T, kHeight, kWidth, 0, kBoth>;
    }
  }
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                static_cast<int>(shared_bytes)));
  kernel<<<grid_size(op, blocks, 1), plan.threads, shared_bytes, stream>>>(
      params, plan, operands.own, operands.source, operands.weight, mutable_data<float>(partial),
      operands.grad_input);
  KERNELOPT_CHECK_LAUNCH(op);
  launch_share_sum<T>(op, partial, grad_weight, stream);
  return true;
}

template <typename T>
bool launch_depthwise_weight_gradient_window_as(const char* op,
                                                const DepthwiseWeightGradientParams& params,
                                                const Tensor& grad_z, const Tensor& input,
                                                const Tensor& grad_weight, cudaStream_t stream) {
  const GradientWindowOperands<T> operands{const_data<T>(grad_z), const_data<T>(input), nullptr,
                                           nullptr};
  bool launched = false;
  dispatch_shape(GradientWindowShapes{}, params.h.kernel_size, params.w.kernel_size,
                 params.h.stride, params.w.stride, [&](auto shape) {
                   using Shape = decltype(shape);
                   launched =
                       launch_gradient_window<T, Shape::kKernelHeight, Shape::kKernelWidth, false>(
                           op, params, operands, grad_weight, stream);
                 });
  return launched;
}

template <typename T>
bool launch_depthwise_both_gradients_as(const char* op, const DepthwiseWeightGradientParams& params,
                                        const Tensor& grad_z, const Tensor& input,
                                        const Tensor& weight, const Tensor& grad_input,
                                        const Tensor& grad_weight, cudaStream_t stream) {
  const GradientWindowOperands<T> operands{const_data<T>(input), const_data<T>(grad_z),
                                           const_data<T>(weight), mutable_data<T>(grad_input)};
  bool launched = false;
  dispatch_shape(BothGradientShapes{}, params.h.kernel_size, params.w.kernel_size, params.h.stride,
                 params.w.stride, [&](auto shape) {
                   using Shape = decltype(shape);
                   launched =
                       launch_gradient_window<T, Shape::kKernelHeight, Shape::kKernelWidth, true>(
                           op, params, operands, grad_weight, stream);
                 });
  return launched;
}

extern template bool launch_depthwise_weight_gradient_window_as<float>(
    const char*, const DepthwiseWeightGradientParams&, const Tensor&, const Tensor&, const Tensor&,
    cudaStream_t);
extern template bool launch_depthwise_weight_gradient_window_as<__half>(
    const char*, const DepthwiseWeightGradientParams&, const Tensor&, const Tensor&, const Tensor&,
    cudaStream_t);
extern template bool launch_depthwise_weight_gradient_window_as<__nv_bfloat16>(
    const char*, const DepthwiseWeightGradientParams&, const Tensor&, const Tensor&, const Tensor&,
    cudaStream_t);
extern template bool launch_depthwise_both_gradients_as<float>(const char*,
                                                               const DepthwiseWeightGradientParams&,
                                                               const Tensor&, const Tensor&,
                                                               const Tensor&, const Tensor&,
                                                               const Tensor&, cudaStream_t);
extern template bool launch_depthwise_both_gradients_as<__half>(
    const char*, const DepthwiseWeightGradientParams&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, cudaStream_t);
extern template bool launch_depthwise_both_gradients_as<__nv_bfloat16>(
    const char*, const DepthwiseWeightGradientParams&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, cudaStream_t);

}  // namespace kernelopt
