#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_tile_kernel.cuh"

namespace kernelopt {
namespace {

template <typename T>
void launch(const char* op, const DepthwiseParams& params, const TilePlan& plan,
            const DepthwiseOperands& operands, Activation activation, cudaStream_t stream) {
  const auto kernel = plan.rows_per_thread == 1   ? depthwise_tile_kernel<T, 1>
                      : plan.rows_per_thread == 2 ? depthwise_tile_kernel<T, 2>
                      : plan.rows_per_thread == 4 ? depthwise_tile_kernel<T, 4>
                                                  : depthwise_tile_kernel<T, 8>;
  KERNELOPT_CUDA_CHECK(
      op, launch_dependent(kernel, dim3(grid_size(op, plan.blocks, 1)), plan.threads,
                           plan.shared_bytes, stream, params, plan, const_data<T>(operands.source),
                           const_data<T>(operands.weight), data_or_null<T>(operands.bias),
                           mutable_data<T>(operands.result), activation));
}

}  // namespace

bool launch_depthwise_tile(const char* op, const DepthwiseParams& params,
                           const DepthwiseOperands& operands, Activation activation,
                           cudaStream_t stream) {
  if (operands.channels_last || operands.source.scalar_type() == ScalarType::Double ||
      params.h.stride != 1 || !fits_32bit(params, operands.result.numel(), kSlidingSlack)) {
    return false;
  }
  const TilePlan plan =
      plan_tiles(params, multiprocessor_count(operands.source.get_device_index()));
  if (plan.rows_per_thread == 0 || !tiles_pay(params, plan)) {
    return false;
  }
  return dispatch_up_to_32bit(operands.source.scalar_type(), [&](auto tag) {
    launch<typename decltype(tag)::type>(op, params, plan, operands, activation, stream);
    return true;
  });
}

}  // namespace kernelopt
