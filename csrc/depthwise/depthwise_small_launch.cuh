// From a shape to an instance of the small kernels; compiled once a dtype.
#pragma once

#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_channels_last_small_kernel.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_shapes.h"
#include "depthwise/depthwise_sliding_plan.h"
#include "depthwise/depthwise_small_kernel.cuh"

namespace kernelopt {

template <typename T, typename Shape, int kRows, bool kDilated>
void launch_small(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
                  Activation activation, cudaStream_t stream) {
  const int64_t class_rows = divide_up(params.h.result_size, params.h.dilation);
  const int64_t strips = divide_up(class_rows, kRows) * params.h.dilation;
  const int64_t items = params.batch * params.result_channels * strips * params.w.result_size;
  depthwise_small_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth, Shape::kStride, kRows,
                         kDilated>
      <<<grid_size(op, items, DepthwisePolicy::kThreads), DepthwisePolicy::kThreads, 0, stream>>>(
          params, const_data<T>(operands.source), const_data<T>(operands.weight),
          data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation,
          static_cast<unsigned>(strips), static_cast<unsigned>(items));
  KERNELOPT_CHECK_LAUNCH(op);
}

template <typename T, typename Shape, int kColumns>
void launch_channels_last_small(const char* op, const DepthwiseParams& params,
                                const DepthwiseOperands& operands, Activation activation,
                                cudaStream_t stream) {
  constexpr int kItemsPerBlock = DepthwisePolicy::kThreads / 32;
  const int64_t column_groups = divide_up(params.w.result_size, kColumns);
  const int64_t channel_blocks = divide_up(params.result_channels, 32);
  const int64_t items = params.batch * params.h.result_size * column_groups;
  depthwise_channels_last_small_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth, Shape::kStride,
                                       kColumns>
      <<<grid_size(op, divide_up(items, kItemsPerBlock) * channel_blocks, 1),
         DepthwisePolicy::kThreads, 0, stream>>>(
          params, const_data<T>(operands.source), const_data<T>(operands.weight),
          data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation,
          static_cast<unsigned>(column_groups), static_cast<unsigned>(channel_blocks),
          static_cast<unsigned>(items));
  KERNELOPT_CHECK_LAUNCH(op);
}

/// False where there is no instance for the shape or the sliding kernels are faster.
template <typename T>
bool launch_depthwise_small_as(const char* op, const DepthwiseParams& params,
                               const DepthwiseOperands& operands, Activation activation,
                               cudaStream_t stream) {
  const DepthwiseAxis& h = params.h;
  const DepthwiseAxis& w = params.w;
  const int64_t results = params.batch * params.result_channels * h.result_size * w.result_size;
  const bool dilated = h.dilation > 1 || w.dilation > 1;
  if (dilated) {
    // Threads with two rows at most have too little in common to read.
    return !operands.channels_last && h.result_size > 2 * h.dilation &&
           w.source_size * h.dilation <= kMaxIndex32 / 4 &&
           dispatch_shape(DilatedShapes{}, h.kernel_size, w.kernel_size, h.stride, w.stride,
                          [&](auto shape) {
                            launch_small<T, decltype(shape), 4, true>(op, params, operands,
                                                                      activation, stream);
                          });
  }
  const int64_t taps = h.kernel_size * w.kernel_size;
  if (results * taps >
      DepthwiseSmallPolicy::max_products(sizeof(T), operands.channels_last, taps)) {
    return false;
  }
  const bool many = results > DepthwiseSmallPolicy::kManyResults;
  return dispatch_shape(SmallShapes{}, h.kernel_size, w.kernel_size, h.stride, w.stride,
                        [&](auto shape) {
                          using Shape = decltype(shape);
                          constexpr int kMostRows = Shape::kKernelHeight == 3 ? 4 : 2;
                          const auto kernel = operands.channels_last
                                                  ? (many ? launch_channels_last_small<T, Shape, 4>
                                                          : launch_channels_last_small<T, Shape, 2>)
                                                  : (many ? launch_small<T, Shape, kMostRows, false>
                                                          : launch_small<T, Shape, 2, false>);
                          kernel(op, params, operands, activation, stream);
                        });
}

extern template bool launch_depthwise_small_as<float>(const char*, const DepthwiseParams&,
                                                      const DepthwiseOperands&, Activation,
                                                      cudaStream_t);
extern template bool launch_depthwise_small_as<__half>(const char*, const DepthwiseParams&,
                                                       const DepthwiseOperands&, Activation,
                                                       cudaStream_t);
extern template bool launch_depthwise_small_as<__nv_bfloat16>(const char*, const DepthwiseParams&,
                                                              const DepthwiseOperands&, Activation,
                                                              cudaStream_t);

}  // namespace kernelopt
