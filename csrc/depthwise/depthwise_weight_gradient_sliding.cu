#include "common/dtype.cuh"
#include "common/share_sum.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_shapes.h"
#include "depthwise/depthwise_weight_gradient_sliding_kernel.cuh"

namespace kernelopt {

DepthwiseParams forward_of(const DepthwiseWeightGradientParams& params) {
  DepthwiseParams forward{};
  forward.batch = params.batch;
  forward.source_channels = params.filters / params.multiplier;
  forward.result_channels = params.filters;
  forward.filters = 1;
  forward.multiplier = params.multiplier;
  forward.h = params.h;
  forward.w = params.w;
  return forward;
}

namespace {

template <typename T>
bool launch(const char* op, DepthwiseWeightGradientParams params, const Tensor& grad_z,
            const Tensor& input, const Tensor& grad_weight, cudaStream_t stream) {
  using Policy = DepthwiseWeightGradientPolicy;
  const int device = input.get_device_index();
  const int64_t multiprocessors = multiprocessor_count(device);
  const int64_t largest_block = max_shared_bytes_per_block(device);
  const bool strided = params.h.stride > 1;
  const int64_t stage_bytes = std::min(strided ? Policy::kStridedStageBytes : Policy::kStageBytes,
                                       largest_block / 2 - Policy::kStageMargin);
  const auto plan_of = strided ? plan_sliding<DepthwiseStridedGradientPolicy>
                               : plan_sliding<DepthwiseSlidingGradientPolicy>;
  const SlidingPlan plan = plan_of(forward_of(params), sizeof(T), static_cast<int>(multiprocessors),
                                   stage_bytes, params.filters);
  const int64_t taps = params.h.kernel_size * params.w.kernel_size;
  const int64_t shared_bytes =
      std::max<int64_t>(2 * plan.shared_bytes, plan.threads * taps * int64_t{sizeof(float)});
  if (shared_bytes > largest_block) {
    return false;
  }
  return dispatch_shape(
      SlidingShapes{}, params.h.kernel_size, params.w.kernel_size, params.h.stride, params.w.stride,
      [&](auto shape) {
        using Shape = decltype(shape);
        const int64_t blocks =
            share_strips(&params, plan,
                         multiprocessors * (strided ? Policy::kStridedBlocksPerMultiprocessor
                                                    : Policy::kSlidingBlocksPerMultiprocessor));
        const Tensor partial = empty_shares<T>(op, params.shares, grad_weight.numel(), input);
        const auto kernel =
            depthwise_weight_gradient_sliding_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth,
                                                     Shape::kStride>;
        KERNELOPT_CUDA_CHECK(
            op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(shared_bytes)));
        kernel<<<grid_size(op, blocks, 1), plan.threads, shared_bytes, stream>>>(
            params, plan, const_data<T>(grad_z), const_data<T>(input),
            mutable_data<float>(partial));
        KERNELOPT_CHECK_LAUNCH(op);
        launch_share_sum<T>(op, partial, grad_weight, stream);
      });
}

}  // namespace

bool launch_depthwise_weight_gradient_sliding(const char* op,
                                              const DepthwiseWeightGradientParams& params,
                                              const Tensor& grad_z, const Tensor& input,
                                              const Tensor& grad_weight, cudaStream_t stream) {
  if (!slides_over_strips(params)) {
    return false;
  }
  return dispatch_up_to_32bit(input.scalar_type(), [&](auto tag) {
    return launch<typename decltype(tag)::type>(op, params, grad_z, input, grad_weight, stream);
  });
}

}  // namespace kernelopt
