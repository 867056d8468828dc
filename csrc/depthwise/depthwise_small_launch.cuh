// From a shape to an instance of the small kernels; compiled once a dtype.
#pragma once

#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_channels_last_small_kernel.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_shapes.h"
#include "depthwise/depthwise_sliding_plan.h"
#include "depthwise/depthwise_small_kernel.cuh"
#include "depthwise/depthwise_small_policy.h"

namespace kernelopt {

inline FastDivisor divisor(int64_t number) {
  return FastDivisor::of(static_cast<uint32_t>(number));
}

/// Whether SmallPlaces::kEven takes an axis on which threads own `count` results.
inline bool has_even_places(const DepthwiseAxis& axis, int64_t count) {
  const int64_t border = (axis.kernel_size - 1) / 2;
  return axis.result_size >= count && axis.padding >= 0 && axis.padding <= border &&
         (axis.result_size - 1) * axis.stride + border - axis.padding < axis.source_size;
}

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

template <typename T, typename Shape, int kRows, int kColumns, int kVec, SmallPlaces kPlaces>
void launch_small(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
                  Activation activation, cudaStream_t stream) {
  const int64_t class_rows = divide_up(params.h.result_size, params.h.dilation);
  const int64_t strips = divide_up(class_rows, kRows) * params.h.dilation;
  const int64_t column_groups = divide_up(params.w.result_size, kColumns);
  const int64_t items = params.batch * params.result_channels * strips * column_groups;
  const DepthwiseSmallItems places{static_cast<unsigned>(items), divisor(column_groups),
                                   divisor(strips), divisor(params.result_channels),
                                   divisor(params.multiplier)};
  const auto kernel = depthwise_small_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth,
                                             Shape::kStride, kRows, kColumns, kVec, kPlaces>;
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
  const DepthwiseChannelsLastItems places{static_cast<unsigned>(items), divisor(channel_blocks),
                                          divisor(column_groups), divisor(strips),
                                          divisor(params.multiplier)};
  const unsigned blocks = grid_size(op, divide_up(items, kItemsPerBlock) * channel_blocks, 1);
  const auto kernel =
      depthwise_channels_last_small_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth,
                                           Shape::kStride, kRows, kColumns>;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(blocks), DepthwisePolicy::kThreads, 0, stream, params,
                           const_data<T>(operands.source), const_data<T>(operands.weight),
                           data_or_null<T>(operands.bias), mutable_data<T>(operands.result),
                           activation, places));
}

/// The same by SmallPlaces::kEven, with those rows of a thread that take the least time; false
/// where it does not take the shape.
template <typename T, typename Shape, int kColumns, int kVec, int... kRows>
bool launch_even(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
                 Activation activation, cudaStream_t stream) {
  if (!has_even_places(params.w, kColumns)) {
    return false;
  }
  using Policy = DepthwiseSmallPolicy;
  int best = 0;
  const auto offer = [&](int rows) {
    if (has_even_places(params.h, rows) &&
        (best == 0 || Policy::row_time(params.h, rows) < Policy::row_time(params.h, best))) {
      best = rows;
    }
  };
  (offer(kRows), ...);
  const auto launch_if = [&](auto rows) {
    if (best == decltype(rows)::value) {
      launch_small<T, Shape, decltype(rows)::value, kColumns, kVec, SmallPlaces::kEven>(
          op, params, operands, activation, stream);
    }
  };
  (launch_if(std::integral_constant<int, kRows>{}), ...);
  return best != 0;
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
    if (operands.channels_last || !has_vector_columns<T>(params, operands, kColumns) ||
        results * kTaps > Policy::max_vector_products(kSize, kTaps, kStride, kColumns, whole)) {
      return false;
    }
    const bool many = results > Policy::kManyVectorResults;
    if constexpr (kSize == 4 && kTaps == 25 && kStride == 1) {
      // 1x960x24x24 4.4 us, two rows 5.8; 1x120x28x28 2.7 and 2.6.
      if (results > Policy::kFewResults &&
          launch_even<T, Shape, kColumns, kColumns, 4>(op, params, operands, activation, stream)) {
        return true;
      }
    }
    constexpr int kMostRows = Policy::vector_rows(kSize, kTaps, kStride, true);
    constexpr int kLeastRows = Policy::vector_rows(kSize, kTaps, kStride, false);
    const auto launch = many && whole ? launch_even<T, Shape, kColumns, kColumns, kMostRows>
                                      : launch_even<T, Shape, kColumns, kColumns, kLeastRows>;
    return launch(op, params, operands, activation, stream);
  }
  return false;
}

/// 3x3 in fp32; false where the sliding kernel is faster.
template <typename T, typename Shape>
bool launch_small_3x3(const char* op, const DepthwiseParams& params,
                      const DepthwiseOperands& operands, Activation activation,
                      cudaStream_t stream) {
  using Policy = DepthwiseSmallPolicy;
  constexpr int kStride = Shape::kStride;
  const int64_t results = operands.result.numel();
  const bool pairs = has_vector_columns<T>(params, operands, 2);
  const bool quads = kStride == 1 && has_vector_columns<T>(params, operands, 4);
  const bool whole = params.w.result_size % 2 == 0;
  const int64_t most =
      pairs ? Policy::max_vector_products(sizeof(T), 9, kStride, quads ? 4 : 2, whole)
            : Policy::max_products(sizeof(T), 9, kStride);
  if (results * 9 > most) {
    return false;
  }
  const bool few = results <= Policy::kFewResults, some = results <= Policy::kSomeResults;
  const auto by = [&](auto launch) { return launch(op, params, operands, activation, stream); };
  bool launched = false;
  if constexpr (kStride == 1) {
    launched = few                                           ? by(launch_even<T, Shape, 1, 1, 2>)
               : quads && results > Policy::kManyQuadResults ? by(launch_even<T, Shape, 4, 4, 4>)
               : pairs && some                               ? by(launch_even<T, Shape, 2, 2, 4>)
               : pairs ? by(launch_even<T, Shape, 2, 2, 4, 5, 7>)
               : params.w.result_size >= Policy::kMinPairedColumns
                   ? by(launch_even<T, Shape, 2, 1, 7>)
                   : false;
    launched = launched || by(launch_even<T, Shape, 1, 1, 7, 5, 4, 2>);
  } else if (pairs) {
    launched =
        some ? by(launch_even<T, Shape, 1, 2, 4, 2>) : by(launch_even<T, Shape, 1, 2, 4, 7, 2>);
  } else {
    launched =
        some ? by(launch_even<T, Shape, 1, 1, 4, 2>) : by(launch_even<T, Shape, 1, 1, 4, 7, 2>);
  }
  if (!launched && results * 9 <= Policy::max_products(sizeof(T), 9, kStride)) {
    by(launch_small<T, Shape, 2, 1, 1, SmallPlaces::kAny>);
    launched = true;
  }
  return launched;
}

/// Threads own single columns, but for 5x5 in fp32.
template <typename T, typename Shape>
void launch_small_columns(const char* op, const DepthwiseParams& params,
                          const DepthwiseOperands& operands, Activation activation,
                          cudaStream_t stream) {
  const auto by = [&](auto launch) { return launch(op, params, operands, activation, stream); };
  bool launched = false;
  if constexpr (Shape::kKernelHeight == 3) {
    launched = operands.result.numel() > DepthwiseSmallPolicy::kManyResults &&
               by(launch_even<T, Shape, 1, 1, 4>);
  } else if constexpr (Shape::kKernelHeight == 5 && Shape::kStride == 2 && sizeof(T) == 4) {
    // 1x144x56x56 3.1 us, single columns 3.5.
    launched = has_vector_columns<T>(params, operands, 2) && by(launch_even<T, Shape, 2, 2, 2>);
  }
  if (!launched && !by(launch_even<T, Shape, 1, 1, 2>)) {
    by(launch_small<T, Shape, 2, 1, 1, SmallPlaces::kAny>);
  }
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
    // Threads with one row have nothing in common to read.
    return !operands.channels_last && h.result_size > h.dilation &&
           w.source_size * h.dilation <= kMaxIndex32 / 4 &&
           dispatch_shape(
               DilatedShapes{}, h.kernel_size, w.kernel_size, h.stride, w.stride, [&](auto shape) {
                 using Shape = decltype(shape);
                 const int64_t rows = divide_up(h.result_size, h.dilation);
                 const auto launch =
                     rows == 2   ? launch_small<T, Shape, 2, 1, 1, SmallPlaces::kDilated>
                     : rows == 3 ? launch_small<T, Shape, 3, 1, 1, SmallPlaces::kDilated>
                                 : launch_small<T, Shape, 4, 1, 1, SmallPlaces::kDilated>;
                 launch(op, params, operands, activation, stream);
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
    if (!operands.channels_last) {
      if constexpr (sizeof(T) == 4 && Shape::kKernelHeight == 3) {
        launched = launch_small_3x3<T, Shape>(op, params, operands, activation, stream);
      } else {
        launched = launch_small_vectors<T, Shape, 4>(op, params, operands, activation, stream) ||
                   launch_small_vectors<T, Shape, 2>(op, params, operands, activation, stream);
        if (!launched && results * taps <= most) {
          launch_small_columns<T, Shape>(op, params, operands, activation, stream);
          launched = true;
        }
      }
      return;
    }
    if (results * taps > most) {
      return;
    }
    constexpr int kMostChannelsLastRows = Shape::kStride == 1 ? 2 : 1;
    launched = true;
    const auto kernel = results > Policy::kManyChannelsLastResults
                            ? launch_channels_last_small<T, Shape, kMostChannelsLastRows, 4>
                        : many ? launch_channels_last_small<T, Shape, 1, 4>
                               : launch_channels_last_small<T, Shape, 1, 2>;
    kernel(op, params, operands, activation, stream);
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
