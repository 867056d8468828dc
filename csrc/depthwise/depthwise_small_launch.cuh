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

/// Whether rows of the source are vectors of `columns` that meet those of the result, the taps of
/// the middle column of one being the columns of the other, and rows of the result are such too,
/// or at stride 2 begin anywhere.
template <typename T>
bool has_vector_columns(const DepthwiseParams& params, const DepthwiseOperands& operands,
                        int64_t columns) {
  const auto aligned = [columns](const Tensor& tensor) {
    return reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % (columns * sizeof(T)) == 0;
  };
  const DepthwiseAxis& w = params.w;
  return w.padding == (w.kernel_size - 1) / 2 && w.source_size % columns == 0 &&
         aligned(operands.source) &&
         (w.result_size % columns == 0 ? aligned(operands.result) : w.stride == 2);
}

template <typename T, typename Shape, int kRows, int kColumns, bool kDilated>
void launch_small(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
                  Activation activation, cudaStream_t stream) {
  const int64_t class_rows = divide_up(params.h.result_size, params.h.dilation);
  const int64_t strips = divide_up(class_rows, kRows) * params.h.dilation;
  const int64_t column_groups = divide_up(params.w.result_size, kColumns);
  const int64_t items = params.batch * params.result_channels * strips * column_groups;
  const auto divisor = [](int64_t number) {
    return FastDivisor::of(static_cast<uint32_t>(number));
  };
  const DepthwiseSmallItems places{static_cast<unsigned>(items), divisor(column_groups),
                                   divisor(strips), divisor(params.result_channels),
                                   divisor(params.multiplier)};
  const auto kernel = depthwise_small_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth,
                                             Shape::kStride, kRows, kColumns, kDilated>;
  constexpr int kThreads = DepthwisePolicy::kThreads;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(grid_size(op, items, kThreads)), kThreads, 0, stream,
                           params, const_data<T>(operands.source), const_data<T>(operands.weight),
                           data_or_null<T>(operands.bias), mutable_data<T>(operands.result),
                           activation, places));
}

template <typename T, typename Shape, int kRows, int kColumns>
void launch_channels_last_small(const char* op, const DepthwiseParams& params,
                                const DepthwiseOperands& operands, Activation activation,
                                cudaStream_t stream) {
  constexpr int kItemsPerBlock = DepthwisePolicy::kThreads / 32;
  const int64_t column_groups = divide_up(params.w.result_size, kColumns);
  const int64_t channel_blocks = divide_up(params.result_channels, 32);
  const int64_t strips = divide_up(params.h.result_size, kRows);
  const int64_t items = params.batch * strips * column_groups;
  const unsigned blocks = grid_size(op, divide_up(items, kItemsPerBlock) * channel_blocks, 1);
  const auto kernel =
      depthwise_channels_last_small_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth,
                                           Shape::kStride, kRows, kColumns>;
  KERNELOPT_CUDA_CHECK(
      op,
      launch_dependent(kernel, dim3(blocks), DepthwisePolicy::kThreads, 0, stream, params,
                       const_data<T>(operands.source), const_data<T>(operands.weight),
                       data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation,
                       static_cast<unsigned>(strips), static_cast<unsigned>(column_groups),
                       static_cast<unsigned>(channel_blocks), static_cast<unsigned>(items)));
}

/// False where threads are to own single columns, or the sliding kernels are faster.
template <typename T, typename Shape, int kColumns>
bool launch_small_vectors(const char* op, const DepthwiseParams& params,
                          const DepthwiseOperands& operands, Activation activation,
                          cudaStream_t stream) {
  using Policy = DepthwiseSmallPolicy;
  constexpr int kSize = sizeof(T), kTaps = Shape::kKernelHeight * Shape::kKernelWidth;
  constexpr int kStride = Shape::kStride;
  if constexpr (Policy::has_vectors(kSize, kTaps, kStride, kColumns)) {
    const bool whole = params.w.result_size % kColumns == 0;
    const int64_t results = operands.result.numel();
    if (!operands.channels_last && has_vector_columns<T>(params, operands, kColumns) &&
        results * kTaps <= Policy::max_vector_products(kSize, kTaps, kStride, kColumns, whole)) {
      const bool many = whole && results > Policy::kManyVectorResults;
      const auto launch =
          many ? launch_small<T, Shape, Policy::vector_rows(kSize, kTaps, kStride, true), kColumns,
                              false>
               : launch_small<T, Shape, Policy::vector_rows(kSize, kTaps, kStride, false), kColumns,
                              false>;
      launch(op, params, operands, activation, stream);
      return true;
    }
  }
  return false;
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
                            launch_small<T, decltype(shape), 4, 1, true>(op, params, operands,
                                                                         activation, stream);
                          });
  }
  const int64_t taps = h.kernel_size * w.kernel_size;
  using Policy = DepthwiseSmallPolicy;
  const int64_t most = operands.channels_last
                           ? Policy::max_channels_last_products(sizeof(T), taps, h.stride)
                           : Policy::max_products(sizeof(T), taps, h.stride);
  const bool many = results > Policy::kManyResults;
  bool launched = false;
  dispatch_shape(SmallShapes{}, h.kernel_size, w.kernel_size, h.stride, w.stride, [&](auto shape) {
    using Shape = decltype(shape);
    constexpr int kMostRows = Shape::kKernelHeight == 3 ? 4 : 2;
    launched = launch_small_vectors<T, Shape, 4>(op, params, operands, activation, stream) ||
               launch_small_vectors<T, Shape, 2>(op, params, operands, activation, stream);
    if (launched || results * taps > most) {
      return;
    }
    constexpr int kMostChannelsLastRows = Shape::kStride == 1 ? 2 : 1;
    const auto kernel = !operands.channels_last
                            ? (many ? launch_small<T, Shape, kMostRows, 1, false>
                                    : launch_small<T, Shape, 2, 1, false>)
                        : results > Policy::kManyChannelsLastResults
                            ? launch_channels_last_small<T, Shape, kMostChannelsLastRows, 4>
                        : many ? launch_channels_last_small<T, Shape, 1, 4>
                               : launch_channels_last_small<T, Shape, 1, 2>;
    kernel(op, params, operands, activation, stream);
    launched = true;
  });
  return launched;
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
