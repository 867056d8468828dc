// From a shape to an instance of the banded kernel; compiled once a dtype.
#pragma once

#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_banded_kernel.cuh"
#include "depthwise/depthwise_launch.h"

namespace kernelopt {

template <typename T, int kHeight>
void launch_banded(const char* op, const DepthwiseParams& params, const BandedPlan& banded,
                   const DepthwiseOperands& operands, Activation activation, cudaStream_t stream) {
  const auto kernel = params.w.source_size % 2 == 0 ? depthwise_banded_kernel<T, kHeight, true>
                                                    : depthwise_banded_kernel<T, kHeight, false>;
  const SlidingPlan& plan = banded.block;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(
              kernel, dim3(grid_size(op, plan.blocks, 1)), plan.threads, plan.shared_bytes, stream,
              params, banded, const_data<T>(operands.source), const_data<T>(operands.weight),
              data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation));
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

}  // namespace kernelopt
