// From a shape to an instance of the sliding kernel; compiled once a dtype.
#pragma once

#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_shapes.h"
#include "depthwise/depthwise_sliding_kernel.cuh"

namespace kernelopt {

/// False where there is no instance for the shape.
template <typename T>
bool launch_depthwise_sliding_as(const char* op, const DepthwiseParams& params,
                                 const DepthwiseOperands& operands, Activation activation,
                                 cudaStream_t stream) {
  return dispatch_shape(
      SlidingShapes{}, params.h.kernel_size, params.w.kernel_size, params.h.stride, params.w.stride,
      [&](auto shape) {
        using Shape = decltype(shape);
        const int device = operands.source.get_device_index();
        const SlidingPlan plan =
            plan_sliding(params, sizeof(T), multiprocessor_count(device),
                         sliding_shared_bytes(max_shared_bytes_per_block(device),
                                              params.h.kernel_size * params.w.kernel_size));
        const auto launch = [&](auto lead) {
          const auto kernel = depthwise_sliding_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth,
                                                       Shape::kStride, decltype(lead)::value>;
          KERNELOPT_CUDA_CHECK(
              op, launch_dependent(kernel, dim3(grid_size(op, plan.blocks, 1)), plan.threads,
                                   plan.shared_bytes, stream, params, plan,
                                   const_data<T>(operands.source), const_data<T>(operands.weight),
                                   data_or_null<T>(operands.bias), mutable_data<T>(operands.result),
                                   activation));
        };
        if constexpr (Shape::kStride == 1 &&
                      has_aligned_slide(Shape::kKernelHeight, Shape::kKernelWidth)) {
          constexpr int kHalf = Shape::kKernelWidth % 2 == 1 ? Shape::kKernelWidth / 2 : 0;
          const bool aligned =
              reinterpret_cast<uintptr_t>(const_data<T>(operands.source)) % 16 == 0;
          if (aligned && plan.aligned_lead == 0) {
            return launch(std::integral_constant<int, 0>{});
          }
          if (aligned && plan.aligned_lead == kHalf) {
            return launch(std::integral_constant<int, kHalf>{});
          }
        }
        launch(std::integral_constant<int, -1>{});
      });
}

extern template bool launch_depthwise_sliding_as<float>(const char*, const DepthwiseParams&,
                                                        const DepthwiseOperands&, Activation,
                                                        cudaStream_t);
extern template bool launch_depthwise_sliding_as<__half>(const char*, const DepthwiseParams&,
                                                         const DepthwiseOperands&, Activation,
                                                         cudaStream_t);
extern template bool launch_depthwise_sliding_as<__nv_bfloat16>(const char*, const DepthwiseParams&,
                                                                const DepthwiseOperands&,
                                                                Activation, cudaStream_t);

}  // namespace kernelopt
