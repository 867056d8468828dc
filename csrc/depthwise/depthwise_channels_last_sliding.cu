#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_channels_last_sliding_kernel.cuh"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_shapes.h"

namespace kernelopt {
namespace {

template <typename T>
bool launch(const char* op, const DepthwiseParams& params, const DepthwiseOperands& operands,
            Activation activation, cudaStream_t stream) {
  if (channel_vector_size<T>(params, operands) == 1) {
    return false;
  }
  return dispatch_shape(
      ChannelsLastShapes{}, params.h.kernel_size, params.w.kernel_size, params.h.stride,
      params.w.stride, [&](auto shape) {
        using Shape = decltype(shape);
        const int device = operands.source.get_device_index();
        const Tensor filter =
            depthwise_kernel_weight(op, operands.weight, !Shape::kTapsInRegisters);
        const ChannelsLastPlan plan = plan_channels_last<Shape>(
            params, sizeof(T), multiprocessor_count(device),
            sliding_shared_bytes(max_shared_bytes_per_block(device),
                                 params.h.kernel_size * params.w.kernel_size));
        KERNELOPT_CUDA_CHECK(
            op, launch_dependent(
                    depthwise_channels_last_sliding_kernel<T, Shape>,
                    dim3(grid_size(op, plan.blocks, 1)), plan.threads, plan.shared_bytes, stream,
                    params, plan, const_data<T>(operands.source), const_data<T>(filter),
                    data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation));
      });
}

}  // namespace

bool launch_depthwise_channels_last_sliding(const char* op, const DepthwiseParams& params,
                                            const DepthwiseOperands& operands,
                                            Activation activation, cudaStream_t stream) {
  const bool served = params.h.dilation == 1 && params.w.dilation == 1 &&
                      fits_32bit(params, params.batch * params.result_channels, kSlidingSlack);
  if (!served) {
    return false;
  }
  return dispatch_up_to_32bit(operands.source.scalar_type(), [&](auto tag) {
    return launch<typename decltype(tag)::type>(op, params, operands, activation, stream);
  });
}

}  // namespace kernelopt
