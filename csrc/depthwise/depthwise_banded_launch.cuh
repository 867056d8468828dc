// From a shape to an instance of the banded kernel; compiled once a dtype.
#pragma once

#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_banded_kernel.cuh"
#include "depthwise/depthwise_launch.h"

namespace kernelopt {

/// How blocks slide over rows of a correlation that lie at these addresses.
template <typename T>
BandSlide band_slide(const DepthwiseParams& params, const BandedPlan& banded,
                     const DepthwiseOperands& operands) {
  const auto source = reinterpret_cast<uintptr_t>(operands.source.const_data_ptr());
  const auto result = reinterpret_cast<uintptr_t>(operands.result.const_data_ptr());
  if (params.w.source_size % 2 != 0) {
    return BandSlide::kAny;
  }
  if (!slides_evenly(params) || result % (2 * sizeof(T)) != 0) {
    return BandSlide::kPairs;
  }
  return sizeof(T) == 2 && params.w.padding == 0 && params.w.source_size * sizeof(T) % 16 == 0 &&
                 source % 16 == 0 && banded.block.whole_rows
             ? BandSlide::kMatrix
             : BandSlide::kEven;
}

template <typename T, int kHeight>
void launch_banded(const char* op, const DepthwiseParams& params, const BandedPlan& banded,
                   const DepthwiseOperands& operands, Activation activation, cudaStream_t stream) {
  const auto kernel = [&] {
    const BandSlide slide = band_slide<T>(params, banded, operands);
    if constexpr (sizeof(T) == 2) {
      if (slide == BandSlide::kMatrix) {
        return depthwise_banded_kernel<T, kHeight, BandSlide::kMatrix>;
      }
    }
    if (slide == BandSlide::kEven) {
      return depthwise_banded_kernel<T, kHeight, BandSlide::kEven>;
    }
    return slide == BandSlide::kAny ? depthwise_banded_kernel<T, kHeight, BandSlide::kAny>
                                    : depthwise_banded_kernel<T, kHeight, BandSlide::kPairs>;
  }();
  const SlidingPlan& plan = banded.block;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(
              kernel, dim3(grid_size(op, plan.blocks, 1)), plan.threads, plan.shared_bytes, stream,
              params, banded, const_data<T>(operands.source), const_data<T>(operands.weight),
              data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation));
}

/// Results of even slides as columns; false where others are faster or it does not fit.
template <typename T>
bool launch_depthwise_banded_columns_as(const char* op, const DepthwiseParams& params,
                                        const DepthwiseColumns& columns, int multiprocessors,
                                        Activation activation, cudaStream_t stream) {
  using Policy = DepthwiseBandedPolicy;
  BandedPlan plan =
      plan_banded(params, sizeof(T), multiprocessors, Policy::shared_bytes(sizeof(T), 3), 1);
  if (plan.block.shared_bytes > Policy::kMostSharedBytes) {
    return false;
  }
  plan.image_stride = static_cast<int>(columns.image_stride);
  plan.channel_stride = columns.channel_stride;
  const auto kernel = depthwise_banded_kernel<T, 3, BandSlide::kEven>;
  KERNELOPT_CUDA_CHECK(op, launch_dependent(kernel, dim3(grid_size(op, plan.block.blocks, 1)),
                                            plan.block.threads, plan.block.shared_bytes, stream,
                                            params, plan, static_cast<const T*>(columns.source),
                                            static_cast<const T*>(columns.weight),
                                            static_cast<const T*>(columns.bias),
                                            static_cast<T*>(columns.result), activation));
  return true;
}

/// False where there is no instance for the shape.
template <typename T>
bool launch_depthwise_banded_as(const char* op, const DepthwiseParams& params,
                                const DepthwiseOperands& operands, Activation activation,
                                cudaStream_t stream) {
  const int64_t height = params.h.kernel_size;
  const BandedPlan plan =
      plan_banded(params, sizeof(T), multiprocessor_count(operands.source.get_device_index()),
                  DepthwiseBandedPolicy::shared_bytes(sizeof(T), height));
  if (plan.block.shared_bytes > DepthwiseBandedPolicy::kMostSharedBytes) {
    return false;
  }
  const auto launch = height <= 3   ? launch_banded<T, 3>
                      : height <= 5 ? launch_banded<T, 5>
                                    : launch_banded<T, 7>;
  launch(op, params, plan, operands, activation, stream);
  return true;
}

extern template bool launch_depthwise_banded_as<float>(const char*, const DepthwiseParams&,
                                                       const DepthwiseOperands&, Activation,
                                                       cudaStream_t);
extern template bool launch_depthwise_banded_as<__half>(const char*, const DepthwiseParams&,
                                                        const DepthwiseOperands&, Activation,
                                                        cudaStream_t);
extern template bool launch_depthwise_banded_as<__nv_bfloat16>(const char*, const DepthwiseParams&,
                                                               const DepthwiseOperands&, Activation,
                                                               cudaStream_t);

extern template bool launch_depthwise_banded_columns_as<__half>(const char*, const DepthwiseParams&,
                                                                const DepthwiseColumns&, int,
                                                                Activation, cudaStream_t);
extern template bool launch_depthwise_banded_columns_as<__nv_bfloat16>(const char*,
                                                                       const DepthwiseParams&,
                                                                       const DepthwiseColumns&, int,
                                                                       Activation, cudaStream_t);

}  // namespace kernelopt
