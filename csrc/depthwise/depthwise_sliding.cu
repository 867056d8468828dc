#include "common/dtype.cuh"
#include "depthwise/conv2d_cuda.h"
#include "depthwise/depthwise_launch.h"
#include "depthwise/depthwise_sliding_kernel.cuh"

namespace kernelopt {

bool launch_depthwise_sliding(const char* op, const DepthwiseParams& params,
                              const DepthwiseOperands& operands, Activation activation,
                              cudaStream_t stream) {
  constexpr int kThreads = DepthwisePolicy::kThreads;
  constexpr int kRows = DepthwisePolicy::kSlidingRows;
  const int64_t strips = (params.h.result_size + kRows - 1) / kRows;
  const int64_t items = params.batch * params.result_channels * strips * params.w.result_size;
  if (!fits_32bit(params, items, kRows) || params.h.dilation != 1 || params.w.dilation != 1) {
    return false;
  }
  return dispatch_floating_cuda(op, operands.source.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    return dispatch_sliding_shape<T>(
        params.h.kernel_size, params.w.kernel_size, params.h.stride, params.w.stride,
        [&](auto shape) {
          using Shape = decltype(shape);
          depthwise_sliding_kernel<T, Shape::kKernelHeight, Shape::kKernelWidth, Shape::kStride>
              <<<grid_size(op, items, kThreads), kThreads, 0, stream>>>(
                  params, const_data<T>(operands.source), const_data<T>(operands.weight),
                  data_or_null<T>(operands.bias), mutable_data<T>(operands.result), activation,
                  static_cast<int>(strips), static_cast<int>(items));
          KERNELOPT_CHECK_LAUNCH(op);
        });
  });
}

}  // namespace kernelopt
