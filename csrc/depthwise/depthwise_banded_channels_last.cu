#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_banded_channels_last_kernel.cuh"
#include "depthwise/depthwise_launch.h"

namespace kernelopt {
namespace {

template <typename T, int kHeight>
bool launch(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
            Activation activation, cudaStream_t stream) {
  using Policy = DepthwiseBandedPolicy;
  const int device = operands.source.get_device_index();
  const BandedChannelsLastPlan plan = plan_banded_channels_last(
      params, sizeof(T), kHeight, multiprocessor_count(device),
      std::min<int64_t>(Policy::kChannelsLastSharedBytes, max_shared_bytes_per_block(device)));
  if (plan.blocks == 0) {
    return false;
  }
  const auto kernel = depthwise_banded_channels_last_kernel<T, kHeight>;
  KERNELOPT_CUDA_CHECK(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                plan.shared_bytes));
  KERNELOPT_CUDA_CHECK(
      op,
      launch_dependent(kernel, dim3(grid_size(op, plan.blocks, 1)), Policy::kChannelsLastThreads,
                       plan.shared_bytes, stream, params, plan, const_data<T>(operands.source),
                       const_data<T>(operands.weight), data_or_null<T>(operands.bias),
                       mutable_data<T>(operands.result), activation));
  return true;
}

template <typename T>
bool launch_as(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
               Activation activation, cudaStream_t stream) {
  if (channel_vector_size<T>(params, operands) == 1) {
    return false;
  }
  const int64_t height = params.h.kernel_size;
  const auto launch_height = height <= 3 ? launch<T, 3> : height <= 5 ? launch<T, 5> : launch<T, 7>;
  return launch_height(op, params, operands, activation, stream);
}

}  // namespace

bool launch_depthwise_banded_channels_last(const char* op, const DepthwiseParams& params,
                                           const DepthwiseOperands& operands, Activation activation,
                                           cudaStream_t stream) {
  if (!is_banded(params, operands)) {
    return false;
  }
  return dispatch_up_to_32bit(operands.source.scalar_type(), [&](auto tag) {
    return launch_as<typename decltype(tag)::type>(op, params, operands, activation, stream);
  });
}

}  // namespace kernelopt
