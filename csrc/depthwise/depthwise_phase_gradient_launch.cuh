// From a shape to an instance of the input gradient by phases; compiled once a dtype.
#pragma once

#include "common/dtype.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_phase_gradient_kernel.cuh"
#include "depthwise/depthwise_shapes.h"

namespace kernelopt {

template <typename T, typename Shape, int kVec>
void launch_phase_gradient(const char* op, const DepthwiseParams& params,
                           const DepthwiseOperands& operands, cudaStream_t stream) {
  constexpr int kRows = DepthwisePhasePolicy::kRows;
  constexpr int kHeight = Shape::kKernelHeight, kWidth = Shape::kKernelWidth;
  const int64_t strips = divide_up(params.h.result_size + params.h.padding % 2, kRows);
  const int64_t columns = divide_up(params.w.result_size, kVec);
  const int64_t items = params.batch * params.result_channels * strips * columns;
  const auto kernel = params.w.padding % 2 == 0
                          ? depthwise_phase_gradient_kernel<T, kHeight, kWidth, 0, kRows, kVec>
                          : depthwise_phase_gradient_kernel<T, kHeight, kWidth, 1, kRows, kVec>;
  kernel<<<grid_size(op, items, DepthwisePolicy::kThreads), DepthwisePolicy::kThreads, 0, stream>>>(
      params, const_data<T>(operands.source), const_data<T>(operands.weight),
      mutable_data<T>(operands.result), static_cast<unsigned>(strips),
      static_cast<unsigned>(columns), static_cast<unsigned>(items));
  KERNELOPT_CHECK_LAUNCH(op);
}

/// False where there is no instance for the shape.
template <typename T>
bool launch_depthwise_phase_gradient_as(const char* op, const DepthwiseParams& params,
                                        const DepthwiseOperands& operands, cudaStream_t stream) {
  const int vec = DepthwisePhasePolicy::vector_size(sizeof(T), params.w.result_size);
  return dispatch_shape(PhaseShapes{}, params.h.kernel_size, params.w.kernel_size, params.h.stride,
                        params.w.stride, [&](auto shape) {
                          using Shape = decltype(shape);
                          const auto launch = vec == 2 ? launch_phase_gradient<T, Shape, 2>
                                              : vec == 4
                                                  ? launch_phase_gradient<T, Shape, 4>
                                                  : launch_phase_gradient<T, Shape, 16 / sizeof(T)>;
                          launch(op, params, operands, stream);
                        });
}

extern template bool launch_depthwise_phase_gradient_as<float>(const char*, const DepthwiseParams&,
                                                               const DepthwiseOperands&,
                                                               cudaStream_t);
extern template bool launch_depthwise_phase_gradient_as<__half>(const char*, const DepthwiseParams&,
                                                                const DepthwiseOperands&,
                                                                cudaStream_t);
extern template bool launch_depthwise_phase_gradient_as<__nv_bfloat16>(const char*,
                                                                       const DepthwiseParams&,
                                                                       const DepthwiseOperands&,
                                                                       cudaStream_t);

}  // namespace kernelopt
